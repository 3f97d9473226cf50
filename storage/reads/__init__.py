"""Questions: nothing here changes a row.

For the dashboard `activity`, `listings`, `pages`; for auditors `audit`, `audit_questions`, `gaps`, `duplicates`,
`export`; for an explanation `explanations`; for a scrape `observations`; for the drill `evidence`, for a measure
`measurements`.
"""

"""What the API speaks: keys as the columns that auditors query, instants in ISO 8601, durations in seconds."""

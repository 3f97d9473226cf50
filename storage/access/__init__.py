"""Who may call the API: `tokens`, browsers' `sessions`; and answers kept for whoever asks again (`idempotency`)."""

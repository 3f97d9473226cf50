"""Who may do what (`access`), who did it (`actor`), and what a repeated request is answered (`idempotency`)."""

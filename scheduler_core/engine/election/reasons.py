"""Why a replica sat down to lead, or got up: words of the log, the metrics and `leader_terms`."""

WITNESS_FELL = "witness fell"
LEASE_SILENT = "lease silent"
NOBODY_LED = "nobody led"
SEATED_AGAIN = "seated again"
CAN_NOT_CLAIM = "could not claim"
SEAT_NOT_RECLAIMED = "could not be seated again"

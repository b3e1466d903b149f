"""The spool: append-only segments between the gateway that appends and the ingester that reads."""

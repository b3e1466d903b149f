"""The processes of one installation: who starts, restarts and ends whom."""

"""The error rates that the optimizer promises, measured by simulation on its own functions."""

"""E-processes, intervals, error budgets and clustered evidence. Pure; see docs/statistics.md."""

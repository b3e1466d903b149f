"""/v1/evals: testing criteria over rows of files or stored completions, run in the background (docs/evals.md)."""

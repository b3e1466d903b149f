"""A labelled set as traffic: its labels are a *simulated teacher*, and everything else is the product itself."""

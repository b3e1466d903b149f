"""What ``benchmarks.guards`` is made of: reading rows, a gateway of its own, marks and their table."""

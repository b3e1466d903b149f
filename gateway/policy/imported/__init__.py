"""Configurations of other gateways, carried over: pure, data in and data out."""

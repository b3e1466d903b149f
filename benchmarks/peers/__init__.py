"""Understudy beside other gateways: what is measured, of whom, and how it is told."""

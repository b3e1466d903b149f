"""JSON Schemas that come from clients: bounded, compiled once, and checked in time linear in what they describe.

Nothing here knows of requests or providers; ``gateway.structured`` does.
"""

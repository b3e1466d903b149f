"""Converse at AWS Bedrock."""

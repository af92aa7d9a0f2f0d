"""Samplers that remember, look twice or keep to a loop of their own, one to a file."""

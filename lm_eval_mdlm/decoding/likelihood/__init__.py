"""Estimates of a continuation's log-probability: which passes to run, and what their log-probabilities say."""

"""The posterior experiment: does a model learn from its own reasoning, sampled given the answers? docs/posterior.md."""

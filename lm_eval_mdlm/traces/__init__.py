"""Files of reasoning traces: reading, labels, prefixes, statistics, choosing. Needs no network."""

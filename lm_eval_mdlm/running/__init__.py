"""From checked options and prompts to finished records, over one or more processes."""

"""Numbers as people and models write them: from a text to one exact value, or to none."""

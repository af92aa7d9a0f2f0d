"""What a row's canvas holds: templates to regions of masks and fixed text, and a filled region to text."""

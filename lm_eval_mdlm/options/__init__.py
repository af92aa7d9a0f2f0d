"""What a user writes, checked once and frozen."""

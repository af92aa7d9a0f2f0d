"""The far side of `sandbox`: run in processes of their own, with the standard library only."""

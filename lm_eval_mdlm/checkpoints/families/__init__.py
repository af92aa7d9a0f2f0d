"""The families of checkpoints, one file each."""

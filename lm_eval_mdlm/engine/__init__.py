"""The denoising loop over a backbone: one loop, one scheduler, and the accounting of each row."""

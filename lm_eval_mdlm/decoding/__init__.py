"""Pure tensor maths of decoding: which positions, which tokens. Knows torch, and neither networks nor text."""

"""Recordings of every step of decoding (`record_steps=DIR`): their files, a reader that gives arrays, and figures."""

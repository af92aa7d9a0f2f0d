"""A long run in one process: what it holds on to, whether it slows down, and whether its results stay the same.

Run `python -m benchmarks.soak`.
"""

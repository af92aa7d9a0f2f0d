"""Samplers on networks that are exact, so that every error is the sampler's own. Run `python -m benchmarks.laboratory`.

The idea of holding samplers against a known Markov chain: arXiv:2602.19619.
"""

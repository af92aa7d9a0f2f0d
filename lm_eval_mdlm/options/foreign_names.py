"""Names that others give to options of this package."""

LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The harness's names for `gen_length`, first one wins there and here."""

"""Results folders of lm_eval, compared: reading, statistics, tables, and one page; needs neither torch nor a model."""

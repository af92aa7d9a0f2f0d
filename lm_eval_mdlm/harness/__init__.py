"""lm-evaluation-harness's side; the only place that leans on how lm_eval works inside."""

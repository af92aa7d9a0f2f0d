"""`lm-eval-mdlm doctor`: what was found of a checkpoint, a machine and tasks, and what a run will take."""

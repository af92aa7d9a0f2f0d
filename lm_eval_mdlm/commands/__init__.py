"""The sub-commands of `lm-eval-mdlm`, one file each: parse, call a room below, print."""

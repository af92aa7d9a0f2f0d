"""Networks that turn canvases into logits; the only place that knows checkpoints and transformers."""

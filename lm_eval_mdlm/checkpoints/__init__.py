"""What lies on disk becomes a backbone; the only place that knows families, and model classes of transformers."""

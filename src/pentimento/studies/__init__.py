"""Causal questions put to trained models: what is changed, what is measured, and how far to trust the answer."""

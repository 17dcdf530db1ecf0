"""Training: recipes, one loop over players, checkpoints, curves."""

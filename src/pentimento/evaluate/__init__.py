"""Measuring models: distances, coverage, copying, likelihood, cost, human preference; each number with its protocol."""

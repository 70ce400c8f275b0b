"""Predictions on posted sequences. NumPy only: the process that serves never loads torch."""

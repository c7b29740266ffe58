"""Runs benchmarks: questions, predictions, scores."""

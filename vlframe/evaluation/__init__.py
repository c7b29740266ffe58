"""Benchmark -> predictions -> table."""

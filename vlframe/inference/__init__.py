"""Loads a model with its processor and device, and generates answers."""

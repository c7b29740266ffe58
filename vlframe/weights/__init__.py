"""Weights in and out, by name, and never in silence."""

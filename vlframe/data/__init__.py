"""Manifest -> Sample -> Batch."""

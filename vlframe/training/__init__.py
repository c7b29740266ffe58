"""Trains the stages of a run, on Lightning."""

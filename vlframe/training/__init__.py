"""Stages of a run, on Lightning."""

"""Composes a command line into a checked config; the only room that imports Hydra."""

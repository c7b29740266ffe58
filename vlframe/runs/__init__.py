"""Runs on disk: their folders, their checkpoints, and the way back from a folder to a model."""

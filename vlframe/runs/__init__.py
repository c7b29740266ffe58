"""Runs on disk: their folders, their checkpoints, and loading a model from a folder."""

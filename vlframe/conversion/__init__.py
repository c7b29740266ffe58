"""Reads and writes other projects' checkpoints, and compares recorded outputs."""

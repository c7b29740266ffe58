"""Reads and writes weights by name; nothing is skipped silently."""

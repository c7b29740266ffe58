"""Decodes media files into arrays: frames, sizes, sound, and what to do if there is none."""

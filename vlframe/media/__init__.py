"""Media files to arrays: which frames, how large, whose sound, and what to do when there is none."""

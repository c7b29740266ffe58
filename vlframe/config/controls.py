"""What may be taken away from a question to see whether a score uses it, besides all media (``evaluation.blind``)."""

CONTROLS = ("one_frame", "shuffled", "reversed", "no_sound", "rotated_options")

"""``vlframe data check``: what training would read, read once, and all that is wrong with it in one report."""

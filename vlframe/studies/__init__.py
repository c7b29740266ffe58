"""Compares runs. Reads run folders; needs neither torch nor the plugins that made the runs."""

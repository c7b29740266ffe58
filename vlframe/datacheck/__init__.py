"""Reads every row of a data set once and writes one report."""

"""Installed plugins, the components they offer, and their classes."""

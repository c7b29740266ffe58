"""The resources that the machine gives a process."""

"""The contracts of each kind of component, and the only types that pass between rooms."""

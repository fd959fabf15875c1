"""The extensions of the project."""

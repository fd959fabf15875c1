"""Measured comparisons: ``python -m bench`` (see docs/performance.md)."""

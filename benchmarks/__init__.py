"""Measured comparisons, each one command: `python -m benchmarks.NAME`."""

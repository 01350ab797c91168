"""The configuration schema of a run, and reading it from plain values."""

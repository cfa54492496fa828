"""Analyzes of a timbre space: each takes a space and arrays and returns a record of arrays."""

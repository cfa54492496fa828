"""Scores of trained runs on held-out sounds."""

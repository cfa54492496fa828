"""Configurations, each with the command, the cost and the expected scores of a result."""

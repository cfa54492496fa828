"""Importers of sounds. Each plans its records and then loads one sound at a time (`base`)."""

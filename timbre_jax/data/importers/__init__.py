"""Importers of sounds, which plan records and then load one sound at a time (`base`)."""

"""Writes the sounds of an importer to a store."""

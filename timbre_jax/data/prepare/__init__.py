"""Turns an importer's sounds into a store."""

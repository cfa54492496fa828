"""Two-dimensional maps of sound libraries and their inverses."""

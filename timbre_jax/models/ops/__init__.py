"""Convolution, pooling and resizing operations that are fast to differentiate."""

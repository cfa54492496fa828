"""Convolution, pooling and resizing operations with fast gradients."""

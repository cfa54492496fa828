"""Signal processing: transforms, levels, pitch, descriptors, distances, phase and files."""

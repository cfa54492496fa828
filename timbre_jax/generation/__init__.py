"""Generation of sounds from a timbre space: paths, operators, edits, descriptor control."""

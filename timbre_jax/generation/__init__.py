"""New sounds from a timbre space: paths, operators, edits and descriptor control."""

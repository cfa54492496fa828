"""Where notes come from. Each source plans what it has and then loads one note at a time; see `base.Source`."""

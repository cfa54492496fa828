"""Pages, tables, figures and players of results."""

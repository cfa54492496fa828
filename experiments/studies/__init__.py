"""Studies, each a program that measures one claim of the documentation."""

"""Studies: each program measures one claim of the documentation."""

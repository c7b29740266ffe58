"""What a study found, as pages and figures that open without vlframe."""

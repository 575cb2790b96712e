"""Pure functions on numbers: no files, no clocks, no settings."""

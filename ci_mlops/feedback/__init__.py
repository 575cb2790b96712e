"""A wrong prediction with the right answer becomes a row of the corrections that judge."""

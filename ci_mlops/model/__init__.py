"""One way to a model: predictions made in the user's own interpreter, never in ours."""

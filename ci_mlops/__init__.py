"""ci-mlops: judge every pull request that touches code, data or a model."""

__version__ = "0.1.0"
REPOSITORY = "ci-mlops/ci-mlops"
"""Where our actions and issues are on GitHub; a test holds every other mention against it."""

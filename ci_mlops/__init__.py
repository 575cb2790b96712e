"""ci-mlops: judge every pull request that touches code, data or a model."""

__version__ = "0.1.0"

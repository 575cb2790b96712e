"""The dashboard: verdicts, metrics, latency and releases over time, as one page."""

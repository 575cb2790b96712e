"""Where production is looked at: Prometheus, the prediction log, and labels that came later."""

"""Models of probes and their fitting."""

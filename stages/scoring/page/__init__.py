"""The report: one page that works without a network, as a file or from the service."""

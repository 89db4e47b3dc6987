"""The report: one page that needs no network, in a file or from the service."""

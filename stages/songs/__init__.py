"""Which songs there are: manifests, and where they come from."""

"""Training a head: losses, loop, run folder and report."""

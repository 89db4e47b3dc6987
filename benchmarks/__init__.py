"""What `make bench` runs: each module measures ours against the plain way in one run, as a ratio of medians."""

"""What `make bench` runs: each module measures ours against the plain way in one run, as a ratio of medians."""

import stages  # noqa: F401  # settles how OpenMP's threads wait, before torch is loaded

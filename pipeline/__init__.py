"""How the work is driven: the commands, the parameters and the place where tasks run."""

import stages  # noqa: F401  # settles how OpenMP's threads wait, before anything loads torch

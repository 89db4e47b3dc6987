"""How the work is driven: the commands, the parameters and the place where tasks run."""

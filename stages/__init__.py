"""What the work is, in the data's order: songs, extract, head, evaluate, probe."""

"""The commands of `hear-head` that have their own file."""

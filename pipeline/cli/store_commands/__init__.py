"""The commands of `hear-store` that have their own file."""

"""Features, labels and folds of a probe."""

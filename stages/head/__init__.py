"""Stage two: the attention-pooling head, its losses, its training and its scores."""

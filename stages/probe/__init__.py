"""Probes: scikit-learn models on stored embeddings, for any label."""

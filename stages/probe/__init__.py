"""scikit-learn probes on stored embeddings."""

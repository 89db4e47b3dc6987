"""How well scores agree with ratings, and how sure that is."""

"""Agreement of scores with ratings, and its uncertainty."""

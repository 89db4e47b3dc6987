"""Compare scores of systems, and heads against ratings: paired tests, intervals, and words for what follows."""

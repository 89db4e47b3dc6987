"""Compare scores of systems, and heads against ratings: paired tests, intervals, and conclusions in words."""

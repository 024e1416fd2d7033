"""Ablations: the rows of the paper's tables, many searches with the same data and epochs."""

"""Search space: topology and genotype, in pure Python."""

"""How good predictions are, by class and all together."""

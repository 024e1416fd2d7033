"""Derivation: rules that choose what survives, and the network built from it."""

"""Stages: one small `keras.Model` around a network for each stage of Algorithm 1."""

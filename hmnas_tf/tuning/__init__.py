"""Tuning: many searches with other settings, by KerasTuner."""

"""A model for another engine."""

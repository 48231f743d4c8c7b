"""Times of models in cells."""

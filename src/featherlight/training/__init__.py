"""One loop for everyone."""

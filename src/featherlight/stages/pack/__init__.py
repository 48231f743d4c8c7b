"""One small file of a student."""

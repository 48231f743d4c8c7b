"""Signatures of the commands, a line each. Heavy imports sit inside them, so that `--help` answers at once."""

"""Featherlight: the model you should ship."""

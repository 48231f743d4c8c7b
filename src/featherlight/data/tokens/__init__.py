"""Texts in, padded batches of token ids out."""

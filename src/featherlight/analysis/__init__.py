"""Numbers in, sentences and pictures out."""

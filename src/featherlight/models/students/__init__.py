"""The small models: a body that reads embeddings, and the tokenizers of their own."""

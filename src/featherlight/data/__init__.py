"""Names and files in, tokenised batches out."""

"""A teacher's logits."""

"""Small layers folded into their encoder."""

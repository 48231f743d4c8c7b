"""The same model in fewer bits or with fewer weights."""

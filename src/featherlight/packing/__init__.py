"""A student's folder in, one .light file out, and back."""

"""Content-addressed folders: what was computed is found by its address and never computed twice."""

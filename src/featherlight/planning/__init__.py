"""Recipes and settings in; jobs with final addresses, and what they will take, out."""

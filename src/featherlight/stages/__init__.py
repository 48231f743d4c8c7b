"""A folder for each stage: its settings, and what it checks and does."""

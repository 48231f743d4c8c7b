"""What to try next: sweep files and guided searches."""

"""A student that imitates a teacher on a task."""

"""Training: the task, losses, schedules, and callbacks."""

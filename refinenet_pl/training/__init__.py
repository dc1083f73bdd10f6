"""Training: the task, its losses and schedules, and what happens around it."""

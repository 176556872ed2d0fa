"""Training: the loop, schedules, resuming, averages, the numeric self-test, and what a run leaves behind."""

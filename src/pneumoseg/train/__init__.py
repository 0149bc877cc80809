"""Data loading, the training loop, schedules and checkpoints."""

"""Pretraining: losses, schedule, engines, loop, checkpoints."""

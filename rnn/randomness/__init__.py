"""Random numbers that are addressed by (seed, purpose, replica, step), so that resuming needs no generator state."""

"""Random numbers addressed by (seed, purpose, replica, step). Resuming a job needs no generator state."""

"""The functions that run each kind of job. Only the process that runs a job imports them, since they may load torch."""

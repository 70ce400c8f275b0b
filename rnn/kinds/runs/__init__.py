"""What runs each kind of job. Only the process that runs a job imports these modules, since they may load torch."""

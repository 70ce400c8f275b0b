"""The worker: hears a ring, claims a job, supervises the trainer child that runs it, and writes what it reports.

    app         the Celery worker process: solo pool, one slot; signals; start and stop
    runner      one attempt of one job, from claim to end
    recorder    what the child reports, as batched and fenced writes
    processes   the supervisor's handle on a trainer child
    trainer     the child itself: rnn.training.run and a pipe (the only part that loads torch)
    forkserver  what every child is forked from, with torch imported
    messages    what travels between child and supervisor
    reconciler  the thread beside: heartbeat, expired leases, rings that were lost
    failpoints  faults for tests, by one environment variable

The supervisor never imports torch: see docs/adr/0002.
"""

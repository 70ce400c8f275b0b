"""The worker: receives a ring, claims a job, supervises the trainer child that runs it, and stores what it reports.

    app         the Celery worker process: solo pool, one slot; signals; start and stop
    runner      one attempt of one job, from claim to end
    recorder    stores what the child reports, in batched and fenced writes
    processes   the supervisor's handle on a trainer child
    trainer     the child itself: runs a job and reports through a pipe (the only part that loads torch)
    device      opens the child's device and warms it up before a job comes
    forkserver  the process that every child is forked from, with torch imported
    messages    the messages between child and supervisor
    reconciler  the thread next to the worker: heartbeat, expired leases, lost rings
    failpoints  faults for tests, set by one environment variable

The supervisor never imports torch: see docs/adr/0002.
"""

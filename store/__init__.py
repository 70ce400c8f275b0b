"""What the API and the workers share: settings, the database, the job state machine, keys, and the queue's doorbell.

Functions here take a `Database`, open one transaction, and return contract types or small dataclasses. They use neither
HTTP nor torch. Times are seconds since 1970 by the database's clock.
"""

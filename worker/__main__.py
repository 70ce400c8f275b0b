"""`python -m worker`: one worker process, one slot. Settings come from the environment."""

# Nothing is imported at module level, because a trainer child may load this module again as its parent's main module.

if __name__ == "__main__":
    import sys

    from worker.app import main

    sys.exit(main())

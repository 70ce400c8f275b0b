"""`python -m worker`: one worker process, one slot. Settings come from the environment."""

# Nothing is imported up here: a trainer child may load this module again as the main module of its parent.

if __name__ == "__main__":
    import sys

    from worker.app import main

    sys.exit(main())

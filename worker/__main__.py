"""`python -m worker`: one worker process, one slot. Settings come from the environment."""

# Nothing is imported at module level, because a trainer child may load this module again as its parent's main module.

if __name__ == "__main__":
    import sys

    from worker.app import main

    # `unroll-server up` names itself, `--parent PID`, where the kernel does not end a child with its parent
    sys.exit(main(int(sys.argv[2]) if sys.argv[1:2] == ["--parent"] else None))

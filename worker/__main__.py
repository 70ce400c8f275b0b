"""`python -m worker`: one worker process, one slot. Settings come from the environment."""

# Nothing is imported at module level, because a trainer child may load this module again as its parent's main module.

if __name__ == "__main__":
    import argparse
    import sys

    from worker.app import main

    parser = argparse.ArgumentParser(prog="python -m worker", description="Run one worker.")
    # `unroll-server up` names itself where the kernel does not end a child with its parent
    parser.add_argument("--parent", type=int, help="the process to end with")
    parser.add_argument("--token", help="what makes this worker's id unique; by default random")
    arguments = parser.parse_args()
    sys.exit(main(arguments.parent, arguments.token))

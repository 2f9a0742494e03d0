"""`python -m dav` and the command `davenport`."""

import sys


def main() -> int:
    """Runs one command; returns the exit status."""
    if sys.argv[1:2] == ["deliver"]:
        # A process for each mail: what all the other commands need is not even loaded.
        from dav.mail import pipe

        status = pipe.main(sys.argv[2:])
        if status is not None:
            return status
    from dav import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

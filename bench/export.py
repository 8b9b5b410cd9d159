"""`python -m bench.export`: a study for the trackers that people already use."""

from __future__ import annotations

from bench.base.bootstrap import end_with


def main() -> int:
    """Carry out the command line; return the exit status."""
    from bench.cli.export import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    end_with("bench.export", main)

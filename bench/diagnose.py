"""`python -m bench.diagnose`: what is wrong with the runs of a study, and what to try."""

from __future__ import annotations

from bench.base.bootstrap import end_with


def main() -> int:
    """Carry out the command line; return the exit status."""
    from bench.cli.diagnose import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    end_with("bench.diagnose", main)

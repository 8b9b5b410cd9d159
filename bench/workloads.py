"""`python -m bench.workloads`: list the named workloads and try which can run on this machine."""

from __future__ import annotations

from bench.base.bootstrap import end_with


def main() -> int:
    """Carry out the command line; return the exit status."""
    from bench.cli.workloads import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    end_with("bench.workloads", main)

"""`python -m bench.studies`: list, show, rename and remove studies."""

from __future__ import annotations

from bench.base.bootstrap import end_with


def main() -> int:
    """Carry out the command line; return the exit status."""
    from bench.cli.studies import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    end_with("bench.studies", main)

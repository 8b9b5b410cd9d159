"""`python -m bench`, and the console script `optbench`."""

from __future__ import annotations

from typing import NoReturn

from bench.base.bootstrap import carry_out, end_with


def main() -> int:
    """Carry out the command line; return the exit status."""
    return carry_out("bench", _main)


def command() -> NoReturn:
    """Carry out the command line, and end the process."""
    end_with("bench", _main)


def _main() -> int:
    from bench.cli.main import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    command()

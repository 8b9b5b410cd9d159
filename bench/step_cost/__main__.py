"""`python -m bench.step_cost`: what one step of each optimizer costs, timed in fresh processes."""

from __future__ import annotations

from bench.base.bootstrap import end_with


def main() -> int:
    """Carry out the command line; return the exit status."""
    from bench.step_cost.measurement import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    end_with("bench.step_cost", main)

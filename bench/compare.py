"""`python -m bench.compare STUDY_A STUDY_B`: did anything get worse from one study to another?

The function of the same name, `from bench import compare`, is that of `bench.api.comparison`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from bench.base.bootstrap import end_with


class _Command(ModuleType):
    """This module, where something has imported it: then `bench.compare` names it, and it can still be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Carry out `bench.api.comparison.compare`."""
        from bench.api.comparison import compare

        return compare(*arguments, **options)


def main() -> int:
    """Carry out the command line; return the exit status."""
    from bench.cli.compare import main as of_the_command

    return of_the_command()


if __name__ == "__main__":
    end_with("bench.compare", main)

sys.modules[__name__].__class__ = _Command

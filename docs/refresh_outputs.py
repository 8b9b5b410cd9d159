"""Run the commands whose output the README and the documentation show, and put the present output in its place.

    python docs/refresh_outputs.py                    every page
    python docs/refresh_outputs.py README.md          these pages

A block that follows `<!-- output of: COMMAND -->` is the output of that command. ` ;; from: TEXT`, ` ;; to: TEXT` or
` ;; before: TEXT` cut it to the lines from the first that begins with one text up to the next that begins with another;
` ;; wrap: 100` wraps long lines. The commands of a page run one after the other in one temporary folder, which holds the files that the page prints. Times depend on the
machine: run this on a quiet one, and read again the sentences that quote a number.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^( *)<!-- output of: ([^\n]*?) -->\n\1```(\w*)\n(.*?)^\1```\n", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^( *)```(?:python|yaml)\n\1# (\S+\.(?:py|yaml))\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """Return the README and every page of the documentation."""
    return [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]


def cut(text: str, limits: Mapping[str, str]) -> str:
    """Return the part of an output that its marker asks for."""
    lines = [line.rstrip() for line in text.strip().splitlines()]

    def place(key: str, start: int = 0) -> int:
        found = [i for i, line in enumerate(lines) if i >= start and line.startswith(limits[key])]
        if not found:
            sys.exit(f"no line begins with {limits[key]!r} in:\n{text}")
        return found[0]

    start = place("from") if "from" in limits else 0
    end = place("to", start) + 1 if "to" in limits else place("before", start) if "before" in limits else len(lines)
    shown = "\n".join(lines[start:end]).strip()
    if "wrap" in limits:
        wrapped = [
            textwrap.wrap(line, int(limits["wrap"]), break_on_hyphens=False) or [""] for line in shown.splitlines()
        ]
        shown = "\n".join(line for part in wrapped for line in part)
    return shown + "\n"


def refreshed(page: str, folder: Path) -> str:
    """Return a page with its outputs replaced by those of its commands, run in a folder."""
    for _, name, code in FILE.findall(page):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(code), encoding="utf-8")
    done: dict[str, str] = {}

    def block(match: re.Match[str]) -> str:
        indent, said, language, _ = match.groups()
        command, *limits = said.split(" ;; ")
        if command not in done:
            print(f"  {command}", flush=True)
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
            streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            ran = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, text=True, **streams)
            done[command] = ran.stdout
        shown = textwrap.indent(cut(done[command], dict(limit.split(": ", 1) for limit in limits)), indent)
        return f"{indent}<!-- output of: {said} -->\n{indent}```{language}\n{shown}{indent}```\n"

    return BLOCK.sub(block, page)


def main(names: Sequence[str]) -> None:
    """Refresh the pages named on the command line, or all."""
    for path in [Path(name).resolve() for name in names] or pages():
        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text):
            print(path.relative_to(ROOT))
            with tempfile.TemporaryDirectory() as folder:
                path.write_text(refreshed(text, Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

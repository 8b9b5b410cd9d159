"""What the tests need of the README and the documentation: their commands, their code, their files."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("[a-z]*.md")))
BLOCK = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Name of the file that the block shows, from the comment in its first line, or below Hydra's."""
        found = re.match(r"(?:# @package _global_\n)?# (\S+\.(?:py|yaml))\n", self.text)
        return found[1] if found and self.language in ("python", "yaml") else None

    @property
    def entry(self) -> tuple[str, str, str] | None:
        """File, place ("before" or "in" a name, or "at the top") and name of lines to be added, from the first line."""
        found = re.match(r"# (\S+\.py), (before|in|at the top) ?(\w*)\n", self.text)
        return (found[1], found[2], found[3]) if found else None


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(language, textwrap.dedent(code)) for _, language, code in BLOCK.findall(text)]


def commands(page: str) -> list[str]:
    """What the page tells a reader to type, a command each, without comments."""
    lines = [line for block in blocks(page) if block.language in ("", "sh") for line in block.text.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def all_commands(prefix: str) -> dict[str, str]:
    """Commands that begin so, each with the page on which it stands first."""
    found: dict[str, str] = {}
    for page in PAGES:
        for command in commands(page):
            if command.startswith(prefix):
                found.setdefault(command, page)
    return found


def write_files(page: str, folder: Path) -> None:
    """Put the files that a page shows into a folder."""
    for block in blocks(page):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")


def add_entries(page: str, folder: Path) -> None:
    """Put the lines that a page tells a reader to add into files that exist."""
    for block in blocks(page):
        if block.entry:
            name, place, anchor = block.entry
            lines = (folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
            at = next(i for i, line in enumerate(lines) if re.match(rf"{anchor or 'from bench'}\b", line))
            lines.insert(at + (place == "in"), block.text.partition("\n")[2])
            (folder / name).write_text("".join(lines), encoding="utf-8")


def script(page: str) -> str:
    """The Python of a page that is no file, as one program."""
    parts = [block for block in blocks(page) if block.language == "python" and not block.file and not block.entry]
    return "\n\n".join(block.text for block in parts)

"""The Sphinx directive that shows the tables of `generated`."""

from __future__ import annotations

import shutil
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from generated import PUBLISHED, REPORTS, made, markdown_table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Table(SphinxDirective):
    """A table made from the code: `{bench-table} WHAT [ARGUMENT]`; see `generated.made`."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the table as Markdown."""
        header, rows = made(*self.arguments)
        holder = nodes.container()
        self.state.nested_parse(StringList(markdown_table(header, rows), "generated"), self.content_offset, holder)
        return holder.children


def _copy_published(app: Sphinx, error: Exception | None) -> None:
    """Put the published reports of claims, one self-contained page each, beside the site."""
    if error is None and app.builder.format == "html":
        for page in sorted(REPORTS.glob("*/index.html")):
            if (page.parent / "verdicts.csv").is_file():
                target = Path(app.outdir) / PUBLISHED / f"{page.parent.name}.html"
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(page, target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("bench-table", Table)
    app.connect("build-finished", _copy_published)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Where the configuration files lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds the packages: the checkout, or site-packages."""


CONF_DIR = next((p for p in (ROOT / "bench" / "conf", ROOT / "conf") if p.is_dir()), ROOT / "conf")
"""Folder of the Hydra configs: the packaged copy, else the checkout's."""

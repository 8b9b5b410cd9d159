"""Texts about claims in English and Chinese, by key: `locale/en.yaml` and `locale/zh.yaml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import yaml

LANGUAGES = ("en", "zh")


Catalogue = Mapping[str, Mapping[str, str]]
"""Texts by group ("words" or "reasons") and key."""


@functools.cache
def catalogue(language: str) -> Catalogue:
    """Return the texts of a language.

    Args:
        language: One of LANGUAGES.

    Raises:
        ValueError: There is no such language.

    Examples:
        >>> catalogue("en")["words"]["supported"]
        'supported'
        >>> catalogue("zh")["reasons"]["memory_not_measured"]
        '没有测量内存'
    """
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language}; choose one of these")
    path = Path(__file__).with_name("locale") / f"{language}.yaml"
    texts: Catalogue = yaml.safe_load(path.read_text(encoding="utf-8"))
    return texts

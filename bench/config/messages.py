"""What validation finds wrong, in one sentence that names the key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from bench.base.paths import CONF_DIR
from bench.base.text import guess, shortened
from bench.config.fields import listing


def error_sentence(
    error: ValidationError, model: type[BaseModel], prefix: str = "", chosen: Mapping[str, str] | None = None
) -> str:
    """Return one sentence for the first thing that is wrong; `chosen`: options of groups, whose files hold defaults."""
    first = min(error.errors(), key=lambda e: e["loc"][0] == "study")  # its default is made of the others
    location = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "constrained-"))]
    key = prefix + re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(location))
    key = re.sub(r"^((?:optimizer|model|data)s?(?:\[\d+\])?)\.target\b", r"\1._target_", key)
    if first["type"] == "extra_forbidden":
        fields = _node_at(model, location[:-1])
        parent = ".".join(location[:-1]) or "the configuration"
        meant = guess(key, [".".join([*location[:-1], name]) for name in fields])
        return f"{meant}{key} must be a key of {parent}, got an unknown one; its keys are {', '.join(fields)}"
    if first["type"] == "missing":
        return f"{key} must be set, got nothing; give it a value"
    wanted = described(model, location) or first["msg"]
    advice = "choose one of these" if wanted.startswith("one of") else _advice(key.partition("[")[0], chosen or {})
    return f"{key} must be {wanted}, got {shown_value(first['input'])}; {advice}"


def _advice(key: str, chosen: Mapping[str, str]) -> str:
    """Return what to do about a bad value: the default to go back to, where there is one."""
    group, _, rest = key.rpartition(".")
    file = CONF_DIR / group / f"{chosen.get(group)}.yaml"
    if group not in ("", "train") and file.is_file():
        default = yaml.safe_load(file.read_text()).get(rest)
    else:
        default = yaml.safe_load((CONF_DIR / "config.yaml").read_text())
        for part in key.split("."):
            default = default.get(part) if isinstance(default, dict) else None
    if isinstance(default, str | int | float | list) and "${" not in str(default):
        return f"leave it out for the default, {json.dumps(default)}"
    return "leave it out, or give another" if key != "study" else "choose another name"


def _node_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        if part in model.model_fields:  # else the name of a thing that is searched
            (model,) = _models_in(model.model_fields[part].annotation)
    return [name for name in model.model_fields if name != "overrides"]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field holds: itself, or inside a mapping or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def described(model: type[BaseModel], location: list[str]) -> str | None:
    """Return the words in which a field says what it takes, from the JSON schema of its model."""
    schema = model.model_json_schema()
    node: Any = schema
    found = None
    for part in location:
        node = next((option for option in node.get("anyOf", ()) if "$ref" in option), node)
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        named = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        node = node["items"] if part.isdigit() else named
        options = [node, *node.get("anyOf", [])]
        if described := [words for option in options if (words := allowed_words(option))]:
            nullable = any(option.get("type") == "null" for option in options)
            found = described[0] + (", or null" if nullable and "null" not in described[0] else "")
    return found


def allowed_words(node: Mapping[str, Any]) -> str:
    """Return what a node of a JSON schema takes: its description, or the values of which it is one; else ""."""
    if "description" in node:
        words, _, rest = str(node["description"]).partition("\n")
        return words[:1].lower() + words[1:].rstrip(".") if rest else words  # of several lines: a docstring
    if "enum" in node:
        return listing(node["enum"])
    return listing(node["items"]["enum"], "a list of") if "enum" in node.get("items", {}) else ""


def shown_value(value: Any) -> str:
    """Return a value as a person would type it; the middle of a long one is left out."""
    typed = "null" if value is None else repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return shortened(typed)

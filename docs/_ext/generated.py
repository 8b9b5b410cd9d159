"""The tables of the reference, made from the code: configuration keys, columns, quantities, verdicts.

What is read comes from `sources`; nothing here repeats a name, a range or a default. `reference` is the Sphinx directive
that shows them.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import sources
import yaml
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent.parent
REPORTS = ROOT / "reports"
PUBLISHED = "published"
"""Folder of the built site that holds the published reports of claims; a URL scheme of `conf.py` points there."""

# --- configuration ----------------------------------------------------------------------------------


class Key(NamedTuple):
    """A configuration key, in words."""

    name: str
    type: str
    allowed: str
    default: str
    meaning: str


class FieldWords(NamedTuple):
    """What a pydantic field takes, and what it is for."""

    type: str
    allowed: str
    meaning: str


def attributes(thing: Any) -> dict[str, str]:
    """Return what a Google-style docstring says of each argument or attribute."""
    text = inspect.getdoc(thing) or ""
    match = re.search(r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", match[1] if match else "", re.DOTALL | re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def field_words(model: type[BaseModel], dotted: str) -> FieldWords | None:
    """Return what a field of a model takes, by its dotted name; None where the model does not know it."""
    schema = model.model_json_schema()
    node: Any = schema
    owner = schema
    for part in dotted.split("."):
        node = _followed(schema, node)
        if part not in node.get("properties", {}):
            return None
        owner, node = node, node["properties"][part]
    options = [node, *node.get("anyOf", [])]
    nullable = any(option.get("type") == "null" for option in options)
    described = next((words for option in options if (words := sources.allowed_words(option))), "")
    meaning = ""
    for candidate in _models(model):
        if candidate.__name__ == owner.get("title"):
            meaning = attributes(candidate).get(dotted.rpartition(".")[2], "")
    if nullable and described and "null" not in described:
        described += ", or null"
    return FieldWords(_type_words(schema, node), described, meaning)


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and all that its fields hold."""
    yield model
    for field in model.model_fields.values():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _models(annotation)


def _followed(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref") or next((part["$ref"] for part in node.get("allOf", []) if "$ref" in part), None)
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node


def _type_words(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    node = _followed(schema, node)
    options = [option for option in node.get("anyOf", [node]) if option.get("type") != "null"]
    names = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "object": "mapping"}
    words = []
    for option in options:
        option = _followed(schema, option)
        kind = option.get("type") or ("string" if "enum" in option or "const" in option else "object")
        words.append(
            f"list of {_type_words(schema, option.get('items', {}))}" if kind == "array" else names.get(kind, kind)
        )
    return " or ".join(dict.fromkeys(words))


def default_words(value: Any) -> str:
    """Return a default as it is typed, and an interpolation of Hydra's as what it stands for."""
    if isinstance(value, str):
        if found := re.fullmatch(r"\$\{oc\.env:(\w+),(\w+)\}", value):
            return f"`${found[1]}`, else `{found[2]}`"
        if found := re.fullmatch(r"\$\{oc\.select:([\w.]+),(\w+)\}", value):
            return f"`{found[1]}`, else `{found[2]}`"
        if found := re.fullmatch(r"\$\{([\w.]+)\}", value):
            return f"that of `{found[1]}`"
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
    return f"`{text}`"


def keys_of_file(path: Path, model: type[BaseModel], section: str = "") -> list[Key]:
    """Return the keys of a config file with what the model says of each.

    Args:
        path: The YAML file: it holds the defaults, and a comment behind each key.
        model: The pydantic model that checks the keys.
        section: Keys to keep: those below it ("train"), or with "" those outside any section.
    """
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    said = sources.comments(path)
    rows = []
    for dotted, value in sources.leaves(
        {key: value for key, value in node.items() if key not in ("defaults", "hydra")}
    ):
        if section != dotted.rpartition(".")[0]:
            continue
        words = field_words(model, dotted) or FieldWords("", "", "")
        rows.append(Key(dotted, words.type, words.allowed, default_words(value), said.get(dotted) or words.meaning))
    return rows


def keys_of_group(
    group: str, model: type[BaseModel] | Mapping[str, type[BaseModel]] | None, skip: Sequence[str] = ()
) -> list[Key]:
    """Return the keys of all options of a config group that a model checks, one row a key and default.

    Args:
        group: A folder of `conf/`.
        model: The model of its options, one for all or one for each, or None: types and meanings come from the function that `_target_` names.
        skip: Keys to leave out.
    """
    rows: dict[tuple[str, str], Key] = {}
    owners: dict[tuple[str, str], list[str]] = {}
    for path in _options(group):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        node = node.get(group, node)
        of_option = model[path.stem] if isinstance(model, Mapping) else model
        for key, value, checks in _checked(node, of_option):
            if key in ("_target_", "name", "defaults", "hydra", *skip):
                continue
            said = sources.comments(path)
            words = (field_words(checks, key.rpartition(".")[2]) if checks else None) or FieldWords("", "", "")
            meaning = said.get(key) or said.get(f"{group}.{key}") or words.meaning
            row = Key(f"{group}.{key}", words.type, words.allowed, default_words(value), meaning)
            rows.setdefault((key, row.default), row)
            owners.setdefault((key, row.default), []).append(path.stem)
    several = len({name for names in owners.values() for name in names}) > 1
    return [
        row._replace(meaning=f"{row.meaning}{' ' if row.meaning else ''}({', '.join(owners[place])})")
        if several
        else row
        for place, row in rows.items()
    ]


def _checked(
    node: Mapping[str, Any], model: type[BaseModel] | None, prefix: str = ""
) -> Iterator[tuple[str, Any, type[BaseModel] | None]]:
    """Yield the dotted keys of an option with their values, and the model that each is a field of."""
    for key, value in node.items():
        kinds = get_args(model.model_fields[key].annotation) if model and key in model.model_fields else ()
        below = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if below is not None and isinstance(value, Mapping):
            yield from _checked(value, below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value, model


def keys_of_target(group: str, option: str) -> list[Key]:
    """Return the arguments of the function or class behind one option of `model` or `data`."""
    path = sources.CONF_DIR / group / f"{option}.yaml"
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    said = sources.comments(path)
    module, _, name = node["_target_"].rpartition(".")
    target = getattr(importlib.import_module(module), name)
    documented, parameters = attributes(target), inspect.signature(target).parameters
    rows = []
    for key, value in node.items():
        if key in ("_target_", "needs", "name"):
            continue
        annotation = str(parameters[key].annotation) if key in parameters else ""
        annotation = re.sub(r"<class '(\w+)'>", r"\1", annotation).replace("Any", "")
        annotation = re.sub(r"(?:Sequence|list)\[(\w+)\]", r"list of \1", annotation).replace("None", "null")
        meaning = documented.get(key) or said.get(key, "")
        rows.append(Key(f"{group}.{key}", annotation.replace(" | ", " or "), "", default_words(value), meaning))
    return rows


def argument_rows(group: str) -> list[list[str]]:
    """Return the arguments of all options of `model` or `data`; options that share one share its row."""
    owners: dict[tuple[str, str], list[str]] = {}
    rows: dict[tuple[str, str], Key] = {}
    for path in _options(group):
        for row in keys_of_target(group, path.stem):
            place = (row.name, row.meaning)
            owners.setdefault(place, []).append(path.stem)
            rows.setdefault(place, row)
    return [
        [f"`{row.name}`", ", ".join(f"`{name}`" for name in owners[place]), row.type, row.default, row.meaning]
        for place, row in sorted(rows.items())
    ]


def optimizer_key_rows() -> list[Key]:
    """Return the keys that every optimizer has beside its hyperparameters."""
    path = sources.CONF_DIR / "optimizer" / "custom.yaml"
    node, said = yaml.safe_load(path.read_text(encoding="utf-8")), sources.comments(path)
    model = _field_model("optimizer")
    rows = []
    for key in ("implementation", "needs", *sources.METADATA):
        words = field_words(model, key) or FieldWords("", "", "")
        rows.append(Key(f"optimizer.{key}", words.type, words.allowed, default_words(node[key]), said[key]))
    return rows


def _options(group: str) -> list[Path]:
    return [path for path in sorted((sources.CONF_DIR / group).glob("*.yaml")) if path.stem != "custom"]


def group_rows(group: str) -> list[list[str]]:
    """Return the options of a config group with what each is."""
    return [[f"`{path.stem}`", sources.headline(path)] for path in _options(group)]


def optimizer_rows() -> list[list[str]]:
    """Return the optimizers: what each is, its class, its implementations, and where its learning rate is searched."""
    rows = []
    for path in _options("optimizer"):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        about = sources.headline(path).partition(": ")[2] or sources.headline(path)
        declared = sources.Capabilities(**node["capabilities"])
        kinds = ["default", *declared.implementations, *["reference"] * (declared.reference is not None)]
        rate = node["search"]["lr"]
        rows.append(
            [
                f"`{path.stem}`",
                f"`{node['_target_']}`",
                about,
                ", ".join(kinds),
                default_words(node["lr"]),
                f"`{rate['center']:g}`: {rate['source']}",
            ]
        )
    return rows


def hyperparameter_rows() -> list[list[str]]:
    """Return the hyperparameters of the optimizers that ship: type, range, and default in each."""
    defaults: dict[str, dict[str, list[str]]] = {}
    for path in _options("optimizer"):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in node.items():
            if key not in ("_target_", "name", "implementation", "needs", *sources.METADATA):
                defaults.setdefault(key, {}).setdefault(default_words(value), []).append(path.stem)
    rows = []
    for key, by_value in defaults.items():
        words = field_words(sources.Hyperparameters, key) or FieldWords("", "", "")
        shown = "; ".join(f"{value}: {', '.join(names)}" for value, names in by_value.items())
        rows.append([f"`optimizer.{key}`", words.type, words.allowed, shown])
    return rows


def workload_rows() -> list[list[str]]:
    """Return the named workloads, `experiment=<name>`: model, data, and what each is."""
    rows = []
    for path in sorted((sources.CONF_DIR / "experiment").glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        chosen = {
            key.removeprefix("override /"): value
            for entry in node.get("defaults", [])
            for key, value in (entry.items() if isinstance(entry, dict) else ())
        }
        names = [f"`{chosen.get(group, default)}`" for group, default in (("model", "mlp"), ("data", "digits"))]
        rows.append([f"`{path.stem}`", *names, sources.headline(path)])
    return rows


def model_rows(model: type[BaseModel]) -> list[Key]:
    """Return the keys of a part of a claim, from its model."""
    rows = []
    for name, field in model.model_fields.items():
        words = field_words(model, name) or FieldWords("", "", "")
        default = "required" if field.is_required() else default_words(field.default)
        meaning = words.meaning or (f"`{name.removesuffix('_zh')}` in Chinese" if name.endswith("_zh") else "")
        rows.append(Key(name, words.type, words.allowed, default, meaning))
    return rows


# --- tables -----------------------------------------------------------------------------------------

UNITS = (
    ("examples_per_s", "examples/s"),
    ("_gib_per_s", "GiB/s"),
    ("_bytes_per_parameter", "bytes"),
    ("_per_s", "1/s"),
    ("_ms", "ms"),
    ("_us", "µs"),
    ("_mib", "MiB"),
    ("_mhz", "MHz"),
    ("_s", "s"),
    ("_share", "share"),
    ("accuracy", "share"),
    ("accuracy_at_best_val", "share"),
    ("_ratio", "ratio"),
    ("_loss", "loss"),
    ("_loss_at_best_val", "loss"),
    ("_gap", "loss"),
    ("epoch", "epochs"),
    ("epochs", "epochs"),
    ("step", "steps"),
    ("steps", "steps"),
)
"""Units by the suffix of a column, the first that fits."""


def unit_of(column: sources.Column) -> str:
    """Return the unit of a column; an empty text for names, flags and numbers without one."""
    if column.kind in ("string", "bool"):
        return ""
    for suffix, unit in UNITS:
        if column.name.endswith(suffix):
            return unit
    return "count" if column.name.startswith("num_") or column.name in ("batch_size", "accumulate") else ""


def column_rows(table: str) -> list[list[str]]:
    """Return the columns of a table: name, type, unit, meaning."""
    rows = []
    for column in sources.TABLES[table]:
        allowed = f"; one of {', '.join(f'`{value}`' for value in column.allowed)}" if column.allowed else ""
        required = "; never missing" if column.required else ""
        rows.append([f"`{column.name}`", column.kind, unit_of(column), column.meaning + allowed + required])
    return rows


# --- claims -----------------------------------------------------------------------------------------


def quantity_rows() -> list[list[str]]:
    """Return what claims can be judged by: name, meaning, unit, which direction is better, what it needs."""
    return [
        [f"`{name}`", _quantity_words(quantity), quantity.unit, _better(quantity), _needs(quantity)]
        for name, quantity in sources.QUANTITIES.items()
    ]


def _quantity_words(quantity: sources.Quantity) -> str:
    doc = (inspect.getdoc(quantity.sample) or "").partition("\n\n")[0]
    title = quantity.words[0].upper() + quantity.words[1:] + "."
    return f"{title} {' '.join(doc.split())}".strip()


def _better(quantity: sources.Quantity) -> str:
    return "lower" if quantity.lower_is_better else "higher"


def _needs(quantity: sources.Quantity) -> str:
    needs = [
        *(["runs at every learning rate"] if quantity.over == "rates" else []),
        *(["one side untuned, the other tuned"] if quantity.over == "mixed" else []),
        *(["step costs"] if quantity.step_costs else []),
        *(["a memory pass"] if quantity.memory else []),
        *(["runs made one at a time"] if quantity.alone else []),
        *(f"`metrics=[{metric}]`" for metric in quantity.metrics),
        *(["`reference` in place of `against`"] if quantity.one_sided else []),
    ]
    return ", ".join(needs)


def verdict_rows(name: str) -> list[list[str]]:
    """Return the published verdicts on the claims of a ledger, each linked to its place in the published report."""
    text = (REPORTS / name / "report.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| \[([^\]]+)\]\(#(claim-[\w-]+)\) \| (.*) \|$", text.partition("\n## ")[2], re.MULTILINE)
    rows = {}
    for claim, anchor, rest in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", rest)]
        cells[1:] = [re.sub(r"^([a-z ]+) (\(\w+\)) (.*)$", r"**\1** \2: \3", cell) for cell in cells[1:]]
        rows.setdefault(claim, [f"[{claim}]({PUBLISHED}:{name}#{anchor})", *cells])
    return [rows[claim] for claim in sources.load(name).claims if claim in rows]


# --- by name ---------------------------------------------------------------------------------------------


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table; columns that are empty throughout are left out."""
    cells = [list(row) for row in rows]
    kept = [i for i in range(len(header)) if any(row[i] for row in cells)]
    lines = [[header[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in cells)]
    return [f"| {' | '.join(line)} |" for line in lines]


def plain(text: str) -> str:
    """Return a text with the characters escaped that Markdown would take as markup, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    escaped = [
        part.replace("|", r"\|") if i % 2 else re.sub(r"([|<>*\[\]])", r"\\\1", part) for i, part in enumerate(parts)
    ]
    return "".join(escaped)


def config_keys(section: str = "") -> list[Key]:
    """Return the keys of a section of `python -m bench`; those outside any section where none is named."""
    return keys_of_file(sources.CONF_DIR / "config.yaml", sources.Config, section)


def step_cost_keys(section: str = "") -> list[Key]:
    """Return the keys of a section of `python -m bench.step_cost`, likewise."""
    return keys_of_file(sources.CONF_DIR / "step_cost.yaml", sources.StepCostConfig, section)


def group_keys(group: str) -> list[Key]:
    """Return the keys that the options of a group have."""
    return keys_of_group(group, sources.CHOICES.get(group) or _field_model(group))


def named_model_keys(name: str) -> list[Key]:
    """Return the keys of a search range, a claim, a measure or a workload."""
    models = {
        "search": sources.SearchConfig,
        "claim": sources.Claim,
        "measure": sources.Measure,
        "workload": sources.Workload,
    }
    return model_rows(models[name])


def metric_rows() -> list[list[str]]:
    """Return the metrics on request, each with what it is."""
    return [[f"`{metric.name}`", metric.meaning] for metric in sources.METRICS]


def diagnostic_rows() -> list[list[str]]:
    """Return the diagnostics, each with what it is, its formula, its cost and its source."""
    return [
        [f"`{each.name}`", each.meaning, f"`{each.formula}`", each.cost, each.source or "—"]
        for each in sources.DIAGNOSTICS
    ]


def _field_model(name: str) -> type[BaseModel]:
    annotation = sources.Config.model_fields[name].annotation
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation


KEY_HEADER = ("key", "type", "allowed values", "default", "meaning")

MADE: dict[str, tuple[Sequence[str], Callable[..., Sequence[Sequence[str]]]]] = {
    "config": (KEY_HEADER, config_keys),
    "step-cost": (KEY_HEADER, step_cost_keys),
    "group-keys": (KEY_HEADER, group_keys),
    "optimizer-keys": (KEY_HEADER, optimizer_key_rows),
    "model": (KEY_HEADER, named_model_keys),
    "options": (("option", "what it is"), group_rows),
    "optimizers": (
        ("option", "class", "algorithm", "implementations", "default `lr`", "`lr` is searched around"),
        optimizer_rows,
    ),
    "hyperparameters": (("key", "type", "allowed values", "default"), hyperparameter_rows),
    "arguments": (("key", "options", "type", "default", "meaning"), argument_rows),
    "workloads": (("option", "model", "data", "what it is"), workload_rows),
    "columns": (("column", "type", "unit", "meaning"), column_rows),
    "metrics": (("metric", "what it is"), metric_rows),
    "diagnostics": (("diagnostic", "what it is", "formula", "cost", "source"), diagnostic_rows),
    "quantities": (("quantity", "what it is", "unit", "better", "needs"), quantity_rows),
    "verdicts": (("claim", "statement", "at the settings given", "with both sides tuned"), verdict_rows),
}
"""Header and rows of each table, by what follows `{bench-table}`."""

IN_MARKDOWN = ("verdicts",)
"""Tables whose cells are Markdown already."""


def made(what: str, *arguments: str) -> tuple[Sequence[str], list[list[str]]]:
    """Return the header and the rows, in Markdown, of the table that `{bench-table} WHAT [ARGUMENT]` shows."""
    header, rows_of = MADE[what]
    rows = [[f"`{row.name}`", *row[1:]] if isinstance(row, Key) else list(row) for row in rows_of(*arguments)]
    return header, rows if what in IN_MARKDOWN else [[plain(cell) for cell in row] for row in rows]

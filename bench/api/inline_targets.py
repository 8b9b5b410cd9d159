"""Make functions, classes and data of a running program targets of a configuration.

A configuration names what it calls by a dotted path. What no import finds (a function of a notebook, a
lambda, tensors) is put into `bench.build.targets.RUNTIME_TARGETS` under a path that ends in a hash of what it is, so that
another function under the same name is another cell.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import re
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset, default_collate

from bench.base.hashing import short_hash
from bench.build.targets import RUNTIME_TARGETS
from bench.data.dataset import Dataset, as_dataset


@contextmanager
def resolvable() -> Iterator[None]:
    """Forget afterwards what was put into `RUNTIME_TARGETS`: data may be large."""
    before = dict(RUNTIME_TARGETS)
    try:
        yield
    finally:
        RUNTIME_TARGETS.clear()
        RUNTIME_TARGETS.update(before)


def target_of(thing: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """Return the dotted path that stands for a callable, and the arguments that a partial adds.

    Args:
        thing: A function, a class, or a `functools.partial` of one.

    Returns:
        The path under which an import finds it, or one of `RUNTIME_TARGETS`; keyword arguments as JSON has them.
    """
    if isinstance(thing, functools.partial) and not thing.args:
        with suppress(TypeError):
            options = json.loads(json.dumps(thing.keywords))
            target, before = target_of(thing.func)
            return target, before | options
    return _import_path(thing) or _registered(thing, _module(thing), _written(thing, set())), {}


def loss_path(loss: Callable[..., Any]) -> str:
    """Return the dotted path that stands for a loss, whatever it holds."""
    if isinstance(loss, functools.partial):
        return _registered(loss, _module(loss.func), _written(loss, set()))
    if isinstance(loss, nn.Module):  # its repr leaves out what it was given
        given = {key: value for key, value in vars(loss).items() if not key.startswith("_")}
        return _registered(loss, _module(loss), _written([type(loss), given, loss.state_dict()], set()))
    return target_of(loss)[0]


def name_of(thing: Callable[..., Any]) -> str:
    """Return the name for tables: that of the function or class."""
    inner = thing.func if isinstance(thing, functools.partial) else thing
    name = getattr(inner, "__name__", type(inner).__name__)
    return re.sub(r"[^A-Za-z0-9_.+-]+", "", name).lstrip("_.+-")[:80] or "own"


def dataset_of(data: Any) -> Dataset:
    """Return three splits as a `bench.data.Dataset`.

    Args:
        data: (train, val, test), each a pair (inputs, targets) of tensors or arrays, or a
            `torch.utils.data.Dataset` with a length, whose examples are read into memory once.

    Raises:
        UserError: They are something else.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, list | tuple):
        data = tuple(_pair(split) for split in data)
    return as_dataset(data)


def _pair(split: Any) -> Any:
    if isinstance(split, TensorDataset):
        return split.tensors
    if isinstance(split, TorchDataset) and hasattr(split, "__len__"):
        return default_collate([split[i] for i in range(len(split))]) if len(split) else (torch.empty(0),) * 2
    return split


def data_target(data: Dataset) -> str:
    """Return the dotted path of a function that returns this data."""
    return _registered(lambda: data, "__main__", [data.fingerprint, repr(data.spec)], "data")


def _registered(thing: Callable[..., Any], module: str, content: Any, name: str | None = None) -> str:
    for target, known in RUNTIME_TARGETS.items():
        if known is thing:
            return target
    digits = short_hash(content, 8)
    target = f"{module}.{re.sub(r'[^A-Za-z0-9_]+', '', name or name_of(thing))}_{digits}"
    RUNTIME_TARGETS[target] = thing
    return target


def _module(thing: Any) -> str:
    name = getattr(thing, "__module__", None)
    return name if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) else "__main__"


def _import_path(thing: Any) -> str | None:
    """Return the dotted path under which an import finds this very object; None if none does."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "<" in name:
        return None
    if module.startswith("torch.optim.") and getattr(torch.optim, name, None) is thing:
        module = "torch.optim"  # as the configs name it
    try:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None
    return f"{module}.{name}" if found is thing else None


def _written(thing: Any, seen: set[int]) -> Any:
    """Return the contents of a callable as JSON: its source, and that of everything it refers to.

    What has no source that can be read is new each time: a result is rather made again than taken from
    another function.
    """
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        return [str(thing.dtype), list(thing.shape), hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()]
    if isinstance(thing, ModuleType):
        return thing.__name__
    if isinstance(thing, functools.partial):
        return [_written(part, seen) for part in (thing.func, thing.args, thing.keywords)]
    if isinstance(thing, Mapping):
        return [[repr(key), _written(value, seen)] for key, value in thing.items()]
    if isinstance(thing, list | tuple):
        return [_written(part, seen) for part in thing]
    if inspect.ismethod(thing):
        return [_written(thing.__func__, seen), _written(thing.__self__, seen)]
    thing = inspect.unwrap(thing) if callable(thing) else thing  # its source shows the decorator
    if not isinstance(thing, FunctionType | type):
        text = repr(thing)
        return uuid.uuid4().hex if " at 0x" in text else text
    if _is_installed(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    if id(thing) in seen:
        return thing.__qualname__
    seen.add(id(thing))
    code = getattr(thing, "__code__", None)
    if code is not None and code.co_filename == "<string>":  # made by exec: inspect may show the program's first lines
        return uuid.uuid4().hex
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return uuid.uuid4().hex
    if isinstance(thing, type):
        own = [inspect.unwrap(part) for part in vars(thing).values() if isinstance(part, FunctionType)]
        return [source, *(_written(base, seen) for base in thing.__bases__), *(_refers_to(part, seen) for part in own)]
    return [source, _refers_to(thing, seen)]


def _refers_to(function: FunctionType, seen: set[int]) -> Any:
    """Return the values of the outer variables that a function uses, and of its defaults."""
    try:
        found = inspect.getclosurevars(function)
    except ValueError:  # a variable that has no value yet
        return uuid.uuid4().hex
    outside = {**found.globals, **found.nonlocals}
    defaults = [function.__defaults__, function.__kwdefaults__]
    said = [[[name, _written(outside[name], seen)] for name in sorted(outside)], _written(defaults, seen)]
    if function.__name__ == "<lambda>":  # of which several may stand on the line that is its source
        code = function.__code__
        constants = [repr(value) for value in code.co_consts if not inspect.iscode(value)]
        said += [code.co_code.hex(), list(code.co_names), constants]
    return said


def _is_installed(thing: Any) -> bool:
    """Return whether a function or class comes with Python or an installed package, which nobody edits."""
    module = str(thing.__module__)
    if module == "__main__":  # what a program defines is its own, whoever started it
        return False
    if module.partition(".")[0] in {*sys.stdlib_module_names, "torch", "bench", "models", "optimizers"}:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    packages = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    return file is not None and bool(packages & set(Path(file).parents))

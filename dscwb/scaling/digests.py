"""Whether two questions are the same: a digest of a function, what it refers to, and its inputs.

Equal digests mean equal content, in any process and on any day. A function counts by its code, not
by its name: who changes a line of a notebook asks another question.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

PLAIN = (type(None), bool, int, float, complex, str, bytes)
OURS = Path(__file__).parents[1]
_INSTALLED = tuple(
    Path(place).resolve()
    for place in (
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
)


def digest(value: object) -> str:
    """SHA-256 of everything that a value is made of, in hexadecimal.

    Arrays, records, tables, functions with the functions and values that they refer to, and
    whatever else can be pickled. A path counts with the content of its file. What is installed
    counts by its version, and dscwb by its sources.

    Raises:
        TypeError: A part of it, such as an open file, has no content that lasts; it is named.

    Example:
        >>> digest({"rate": 1e6})[:12], digest({"rate": 1e6}) == digest({"rate": 2e6})
        ('2fdcf2c76ae9', False)
    """
    return _of(value, ()).hex()


def _sha(kind: str, parts: Iterable[bytes]) -> bytes:
    """Of parts that are digests themselves, so that their borders are clear."""
    found = hashlib.sha256(f"{kind}:".encode())
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.digest()


def _of(value: Any, above: tuple[int, ...]) -> bytes:
    kind = type(value)
    if kind in PLAIN:
        return _sha(kind.__name__, [repr(value).encode()])
    if id(value) in above:  # it holds itself
        return _sha("above", [b"%d" % above.index(id(value))])
    above = (*above, id(value))

    def all_of(values: Iterable[Any]) -> list[bytes]:
        return [_of(one, above) for one in values]

    if kind in (list, tuple):
        return _sha(kind.__name__, all_of(value))
    if kind is dict:  # whose order may show in a result
        return _sha("dict", all_of(part for pair in value.items() for part in pair))
    if kind in (set, frozenset):
        return _sha("set", sorted(all_of(value)))
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        about = f"{value.dtype.str} {value.shape}".encode()
        return _sha("array", [about, np.ascontiguousarray(value).tobytes()])
    if isinstance(value, os.PathLike):
        path = Path(value)
        return _sha("path", [str(path).encode(), path.read_bytes() if path.is_file() else b""])
    if isinstance(value, ModuleType):
        return _of_module(value.__name__)
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)) and _is_known(value):
        return _sha("known", [f"{value.__qualname__}".encode(), _of_module(_home(value))])
    if isinstance(value, CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars, value.co_argcount
        counts = value.co_flags, value.co_kwonlyargcount, value.co_posonlyargcount
        body = value.co_code, value.co_exceptiontable
        return _sha("code", all_of((*names, *counts, *body, value.co_consts)))
    if isinstance(value, FunctionType):
        return _sha("function", all_of(_parts_of_function(value)))
    if isinstance(value, type):
        return _sha("class", all_of(_parts_of_class(value)))
    if is_dataclass(value):
        known = {one.name: getattr(value, one.name) for one in fields(value)}
        return _sha("record", all_of((kind, known)))
    if isinstance(value, enum.Enum):
        return _sha("enum", all_of((kind, value.name)))
    return _sha("object", all_of(_pickled(value)))


def _is_known(value: Any) -> bool:
    """Whether its module says which one it is: what is installed, built in, or of dscwb."""
    name = getattr(value, "__module__", None) or ""
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return False
    return name.partition(".")[0] == OURS.name or not _is_users(module)


def _is_users(module: ModuleType) -> bool:
    """Whether it is neither built in nor installed."""
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ not in sys.builtin_module_names
    return not any(Path(file).resolve().is_relative_to(place) for place in _INSTALLED)


def _of_module(name: str) -> bytes:
    """Of dscwb the sources, of what is installed the version, of the user's own the files."""
    top = name.partition(".")[0]
    if top == OURS.name:
        return _sha("module", [name.encode(), sources()])
    version = getattr(sys.modules.get(top), "__version__", sys.version_info[:3])
    parts, seen, next_ones = [f"{name} {version}".encode()], set[str](), {name}
    while next_ones:
        seen |= next_ones
        own = {one: sys.modules[one] for one in next_ones if one in sys.modules}
        users = {one: module for one, module in own.items() if _is_users(module)}
        files = (getattr(users[one], "__file__", None) for one in sorted(users))
        parts += [Path(file).read_bytes() for file in files if file and Path(file).is_file()]
        held = (one for module in users.values() for one in vars(module).values())
        next_ones = {_home(one) for one in held} - seen - {OURS.name}
    return _sha("module", parts)


def _home(value: Any) -> str:
    """The module that a thing is, or comes from."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return name if isinstance(name, str) else ""


@functools.cache
def sources() -> bytes:
    """SHA-256 of the dscwb that runs here, whatever its version says."""
    files = sorted(path for end in ("py", "toml") for path in OURS.rglob(f"*.{end}"))
    return _sha("sources", (path.read_bytes() for path in files))


def _parts_of_function(function: FunctionType) -> list[Any]:
    """Code, defaults, what it has closed over, and the globals that its code names."""
    parts: list[Any] = [function.__code__, function.__defaults__, function.__kwdefaults__]
    parts += [cell.cell_contents for cell in function.__closure__ or ()]
    known = function.__globals__
    return [*parts, {name: known[name] for name in sorted(_names(function.__code__) & {*known})}]


def _names(code: CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _parts_of_class(kind: type) -> list[Any]:
    """Its name, what it derives from, and the code of its methods."""
    found: dict[str, Any] = {}
    for name, one in sorted(vars(kind).items()):
        code = getattr(one, "__func__", getattr(one, "fget", getattr(one, "func", one)))
        if isinstance(code, FunctionType) or (type(one) in PLAIN and not name.startswith("__")):
            found[name] = code
    return [kind.__qualname__, kind.__bases__, found]


def _pickled(value: Any) -> list[Any]:
    """What pickle would take it apart into: how to make it, and its state."""
    try:
        own = copyreg.dispatch_table.get(type(value))
        parts = own(value) if own else value.__reduce_ex__(4)
    except Exception as error:
        raise TypeError(
            f"a {type(value).__name__} has no content that lasts ({error}); give what it is made "
            "of, or leave the folder out."
        ) from None
    if isinstance(parts, str):
        return [type(value), parts, _home(value), getattr(value, "__wrapped__", None)]
    return [list(part) if i in (3, 4) and part else part for i, part in enumerate(parts)]

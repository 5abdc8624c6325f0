"""Equal content gives equal digests in every process; whatever changes an answer changes them."""

import functools
import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dscwb
from dscwb.scaling.digests import digest
from tests.tiny import profile_of, tiny_graph

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Record:
    values: np.ndarray
    name: str = ""


def distinct(*values):
    assert len({digest(value) for value in values}) == len(values)


def test_values_differ_by_content_type_and_borders():
    distinct(1, 1.0, True, "1", b"1", None, (1,), [1], {1}, {1: 1}, np.float32(1), np.array([1.0]))
    distinct("ab", ("a", "b"), ("ab", ""), ["a", "b"], [["a"], "b"], [["a", "b"]])
    distinct({"a": 1, "b": 2}, {"b": 2, "a": 1})  # whose order may be that of columns
    distinct(np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), -np.zeros(4))
    distinct(0.1, np.nextafter(0.1, 1).item(), 0.0, -0.0)
    distinct(Record(np.ones(2)), Record(np.ones(2), "x"), Record(np.ones(3)))
    assert digest({1, 2, "x"}) == digest({"x", 2, 1})


def test_records_and_tables_of_equal_content_are_equal():
    one, other = (profile_of(tiny_graph(), {1: [1, 2, 3]}) for _ in range(2))
    one.head_s(1)  # what a record remembers for later is no content
    assert digest(one) == digest(other)
    distinct(one, profile_of(tiny_graph(), {1: [1, 2, 4]}), dscwb.scale_profile(one, 2))
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert digest(table) == digest(table.copy())
    distinct(table, table.assign(a=[1, 3]), table.rename(columns={"b": "c"}))


def test_a_value_that_holds_itself_has_a_digest():
    own, other = [1], [1]
    own.append(own)
    other.append(other)
    assert digest(own) == digest(other)


def made(text, **known):
    """A function as a notebook's cell defines it."""
    space = {"__name__": "__main__", **known}
    exec(text, space)
    return space["f"]


HELPER = "def h(x): return x + {}\ndef f(x): return h(x)"


def test_a_function_counts_by_its_code_and_what_it_refers_to():
    assert digest(made("def f(x): return x + 1")) == digest(
        made("\n\ndef f(x):  # why\n return x+1")
    )
    distinct(
        made("def f(x): return x + 1"),
        made("def f(x): return x + 2"),
        made("def f(x): return x - 1"),
        made("def f(x, y=3): return x + 1"),
        made("def f(x): return x + a", a=1),
        made("def f(x): return x + a", a=2),
        made(HELPER.format(1)),
        made(HELPER.format(2)),
        made("import functools\n@functools.cache\ndef f(x): return x + 1"),
        made("import functools\n@functools.cache\ndef f(x): return x + 2"),
        made("class C:\n def m(self): return 1\ndef f(x): return C().m()"),
        made("class C:\n def m(self): return 2\ndef f(x): return C().m()"),
        *(functools.partial(made("def f(x, y): return x"), y=y) for y in (1, 2)),
        *((lambda x, y=y: x) for y in (1, 2)),
    )
    recursive = "def f(x): return f(x - 1) if x else {}"
    assert digest(made(recursive.format(0))) == digest(made(recursive.format(0)))
    distinct(made(recursive.format(0)), made(recursive.format(1)))


def closed_over(value):
    return lambda x: x + value


def test_what_a_function_has_closed_over_counts():
    distinct(closed_over(1), closed_over(2))
    assert digest(closed_over(1)) == digest(closed_over(1))


def test_the_users_modules_count_by_their_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    inner, outer = tmp_path / "dscwb_inner.py", tmp_path / "dscwb_outer.py"
    outer.write_text("import dscwb_inner\ndef g(x): return dscwb_inner.g(x)")
    found = []
    for text in ("def g(x): return 1", "def g(x): return 22"):
        inner.write_text(text)
        for name in ("dscwb_inner", "dscwb_outer"):
            sys.modules.pop(name, None)
        module = importlib.import_module("dscwb_outer")
        found.append(made("def f(x): return dscwb_outer.g(x)", dscwb_outer=module))
        found[-1] = digest(found[-1])
    assert found[0] != found[1]


def test_a_path_counts_with_the_content_of_its_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("one")
    before = digest(path)
    path.write_text("two")
    assert digest(path) != before


def test_it_is_the_same_in_every_process():
    program = (
        "import dscwb, numpy as np, pandas as pd\nfrom dscwb.scaling.digests import digest\n"
        "from tests.tiny import *\n"
        "a = {'x', 'y', 'z', 3}\n"
        "f = lambda x: np.sin(x) in {'x', 'y', 'z'} or a\n"
        "p = profile_of(tiny_graph(), {1: [1, 2, 3]})\n"
        "print(digest([a, f, p, dscwb.sweep, pd.DataFrame({'q': ['u', 'v']}), np.sin, 1e-300]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_what_does_not_last_is_refused_by_name():
    with open(os.devnull) as file, pytest.raises(TypeError, match="a TextIOWrapper has no content"):
        digest({"x": [file]})

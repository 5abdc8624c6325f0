"""The examples in docstrings run and print what they say, and every public name explains itself."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import dscwb

OPTIONS = doctest.NORMALIZE_WHITESPACE


def examples():
    found = []
    for module in pkgutil.walk_packages(dscwb.__path__, "dscwb."):
        if module.name != "dscwb.__main__":
            room = importlib.import_module(module.name)
            found += [test for test in doctest.DocTestFinder().find(room) if test.examples]
    return found


EXAMPLES = examples()
SWEEP = next(example for example in EXAMPLES if example.name.endswith(".sweep"))


def failures(example, **names):
    """How many of its lines say something else; `names` are what an earlier example made."""
    example.globs.update(names)
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    return runner.run(example, clear_globs=False).failed


@pytest.fixture(scope="module")
def study():
    """What the example of `sweep` makes, to which others refer."""
    assert failures(SWEEP) == 0
    return SWEEP.globs["study"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_prints_what_it_says(example, study):
    assert failures(example, study=study) == 0


def test_examples_are_found_and_can_fail():
    names = {example.name.rsplit(".", 1)[-1] for example in EXAMPLES}
    assert {"sweep", "bottlenecks", "best_split", "verdict"} <= names
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert failures(wrong) == 1


@pytest.mark.parametrize("name", [name for name in dscwb.__all__ if name != "__version__"])
def test_a_public_name_explains_itself(name):
    assert len(inspect.getdoc(getattr(dscwb, name))) > 20

"""The code of the README and of every page of the documentation runs, the blocks of one page one after the other."""

import doctest
import importlib
import inspect
import re
import textwrap
from collections import Counter
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from _digits import calibration_and_test, convolutional_network

from skclamp import NeuralClampingCalibrator, NeuralClampingCalibratorCV

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Folders of what is made, or no page.
MADE = {"_build", "_templates", "auto_examples", "examples", "generated"}
PAGES = sorted(page for page in DOCS.rglob("*.rst") if not MADE & set(page.relative_to(DOCS).parts))

DIRECTIVE = re.compile(r"(?P<indent> *)\.\. (?P<kind>code-block|literalinclude):: (?P<argument>\S+)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page):
    """(kind, number of the line before, text) of what a page would have run: "include", "python" or "doctest"."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line, start = lines[number], number + 1
        number += 1
        if match := DIRECTIVE.match(line):
            while number < len(lines) and _is_within(lines[number], len(match["indent"])):
                number += 1
            options, code = _options_and_code(lines[start:number])
            if match["kind"] == "literalinclude":
                yield "include", start, match["argument"]
            elif match["argument"] == "python" and ":class: not-run" not in options:
                yield "python", start + len(options), code
        elif line.lstrip().startswith(">>> "):
            while number < len(lines) and lines[number].strip():
                number += 1
            yield "doctest", start - 1, textwrap.dedent("\n".join(lines[start - 1 : number]) + "\n")


def _is_within(line, indent):
    return not line.strip() or len(line) - len(line.lstrip()) > indent


def _options_and_code(lines):
    """The options of a directive, and what it holds, each line at its place."""
    n_options = next((n for n, line in enumerate(lines) if not line.lstrip().startswith(":")), len(lines))
    return [line.strip() for line in lines[:n_options]], textwrap.dedent("\n".join(lines[n_options:]) + "\n")


@cache
def included(path):
    """Names that a script leaves behind: pages that begin with the same one share its network."""
    names = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


def run_doctest(text, names, page, number):
    test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), number)
    # A copy of the names is what get_doctest makes.
    test.globs = names
    runner, report = doctest.DocTestRunner(optionflags=FLAGS, verbose=False), []
    runner.run(test, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS).with_suffix("")))
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    with torch.random.fork_rng():
        for kind, number, text in blocks(page):
            if kind == "include":
                names.update(included((page.parent / text).resolve()))
            elif kind == "doctest":
                run_doctest(text, names, page, number)
            else:
                exec(compile("\n" * number + text, str(page), "exec"), names)
    plt.close("all")


def test_only_what_needs_other_packages_or_machines_is_left_out():
    left_out = {str(page.relative_to(DOCS)) for page in PAGES if ":class: not-run" in page.read_text(encoding="utf-8")}
    assert left_out <= {
        "coming_from/nctoolkit.rst",
        "coming_from/netcal.rst",
        "coming_from/torch_uncertainty.rst",
        "guide/distributed.rst",
    }


def reference():
    """Modules that the API reference has a section of, and the names that it lists, with what they name."""
    modules, found = [], {}
    for line in (DOCS / "api" / "index.rst").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\.\. module:: (\S+)", line):
            modules.append(importlib.import_module(match[1]))
        elif match := re.fullmatch(r"   (\w[\w.]*)", line):
            *path, name = f"{modules[-1].__name__}.{match[1]}".split(".")
            found[match[1]] = getattr(importlib.import_module(".".join(path)), name)
    return modules, found


def test_every_public_name_is_in_the_reference_with_an_example():
    modules, found = reference()
    for module in modules:
        for name in getattr(module, "__all__", []):
            # Ready-made scorers are named in the text.
            if not name.startswith(("__", "neg_")):
                assert found[name] is getattr(module, name)
    for name, value in found.items():
        raised = isinstance(value, type) and issubclass(value, Exception)
        assert raised or not callable(value) or ">>> " in value.__doc__, f"{name} has no example"


def test_groups_of_parameters_begin_with_one_that_there_is(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    groups = importlib.import_module("_parameter_groups")
    many = [NeuralClampingCalibrator, NeuralClampingCalibratorCV]
    found = {name for kind in many for name in inspect.signature(kind).parameters}
    assert set(groups.GROUPS) <= found
    lines = [":Parameters:", "", *(f"    **{name}** : float" for name in inspect.signature(many[0]).parameters)]
    groups.group_parameters(None, "class", "", many[0], None, lines)
    titles = [line.strip() for line in lines if line.strip() in groups.GROUPS.values()]
    assert titles == [title for name, title in groups.GROUPS.items() if hasattr(many[0](), name)]
    assert lines.index("    What is learned") < lines.index("    **perturbation** : float")
    few = lines[:12]
    groups.group_parameters(None, "class", "", many[0], None, few)
    assert few == lines[:12]


def test_no_block_of_a_page_is_passed_over():
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    found = Counter(kind for page in PAGES for kind, _, _ in blocks(page))
    for kind, pattern in (
        ("python", r"\.\. code-block:: python\n(?!( +:.+\n)* +:class: not-run)"),
        ("include", r"\.\. literalinclude:: "),
        ("doctest", r"\n\n *>>> "),
    ):
        assert found[kind] == sum(len(re.findall(pattern, text)) for text in texts) > 0, kind
    with pytest.raises(AssertionError, match=r"Expected:\n +4\n +Got:\n +3"):
        run_doctest(">>> 3\n4\n", {}, PAGES[0], 0)


def test_readme_code_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (X_val, y_val), (X_test, y_test) = calibration_and_test(0)
    names = {"net": convolutional_network(), "X_val": X_val, "y_val": y_val, "X_test": X_test, "y_test": y_test}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    plt.close("all")
    assert names["proba"].shape == (len(y_test), 10)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("uncalibrated", "TemperatureScaling", "VectorScaling", "floor (95 %)"))
    assert names["calibrator"].score(X_test, y_test) == names["comparison"]["TemperatureScaling"].accuracy

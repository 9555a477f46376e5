"""The code of the README and of every page of the documentation runs, the blocks of one page one after the other."""

import ast
import contextlib
import doctest
import importlib.util
import io
import os
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, TensorDataset

import count
import skclamp
import tables

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Folders of what is made, or no page.
MADE = {"_build", "_templates", "auto_examples", "examples", "generated"}
PAGES = sorted(page for page in DOCS.rglob("*.rst") if not MADE & set(page.relative_to(DOCS).parts))

README = (ROOT / "README.md").read_text(encoding="utf-8")
INDEX = (DOCS / "index.rst").read_text(encoding="utf-8")

# What people ask, and the page that answers it.
ASKED = {
    **{"rare event": "guide/two_classes", "ragged text": "guide/text", "out of memory": "guide/troubleshooting"},
    **{"FastAPI": "guide/deployment", "cross-fitting": "guide/cross_fitting", "refused": "guide/troubleshooting"},
    **{"multilabel": "guide/many_labels", "MLflow": "guide/tracking", "model card": "guide/tracking"},
}

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
    names = {"__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


@cache
def after_first_lines():
    """The names that the README's code leaves behind, and what it prints: the first page of the site has it too."""
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), names)
    return block, names, printed.getvalue()


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
            elif "import mlflow" in text and not importlib.util.find_spec("mlflow"):
                pytest.skip("needs mlflow: pip install mlflow; what stands before has run")
            elif page.stem == "index" and text.strip() == after_first_lines()[0].strip():
                names.update(after_first_lines()[1])
            else:
                exec(compile("\n" * number + text, str(page), "exec"), names)
    plt.close("all")


def test_only_what_needs_other_packages_or_machines_is_left_out():
    left_out = {str(page.relative_to(DOCS)) for page in PAGES if ":class: not-run" in page.read_text(encoding="utf-8")}
    assert left_out <= {
        "coming_from/mapie.rst",
        "coming_from/nctoolkit.rst",
        "coming_from/netcal.rst",
        "coming_from/torch_uncertainty.rst",
        "guide/boxes.rst",
        "guide/data.rst",
        "guide/deployment.rst",
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


@pytest.fixture(scope="module")
def after_readme():
    """The names that the README's code leaves behind, and what it prints."""
    block, names, printed = after_first_lines()
    assert len(block.split("\n\n")) == 2
    assert sum(1 for line in block.splitlines() if line) == 4
    return names, printed


def scores(table):
    """Accuracy and NLL by the name of the calibrator."""
    rows = re.findall(r"^(\w.*?)  +(\d+\.\d+)  +(\d+\.\d+)  ", table, flags=re.MULTILINE)
    return {name: (float(accuracy), float(nll)) for name, accuracy, nll in rows}


def test_first_lines_of_the_readme_run_and_print_what_it_says(after_readme):
    said, printed = scores(README), scores(after_readme[1])
    assert next(iter(said)).startswith("NeuralClampingCalibrator") and next(iter(said)) == next(iter(printed))
    assert said.keys() == printed.keys() >= {"TemperatureScaling", "uncalibrated"}
    for name, (accuracy, nll) in said.items():
        # Of a processor that rounds otherwise the second decimal may differ by one.
        assert printed[name] == (pytest.approx(accuracy, abs=0.5), pytest.approx(nll, abs=0.0151))
    assert printed["NeuralClampingCalibrator"][1] < 0.5 * printed["TemperatureScaling"][1]
    assert max(map(len, after_readme[1].splitlines())) <= 80


# What a Python that has the package alone doesn't have.
ALONE = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = staticmethod(
    lambda name, *more: None if name.partition(".")[0] in {absent} else found(name, *more)
)
{block}
"""


@pytest.mark.slow
def test_first_lines_of_the_readme_need_the_package_alone(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    absent = {"PIL", "datasets", "matplotlib", "onnx", "pandas", "polars", "safetensors", "torchvision", "transformers"}
    code = ALONE.format(absent=absent, block=block)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 and scores(ran.stdout), ran.stderr


def test_first_lines_of_readme_and_documentation_are_the_same():
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    ((_, _, first),) = [found for found in blocks(DOCS / "index.rst") if found[0] == "python"]
    assert first.strip() == block.strip()


@pytest.mark.parametrize(
    ("what", "value", "floor"), list(count.readme()), ids=lambda value: str(value).replace(" ", "_")
)
def test_readme_is_short(what, value, floor):
    assert 0 < value <= floor, what


def test_every_number_of_the_readme_has_its_file():
    """Generated tables apart, and what isn't measured."""
    prose = tables.MARKED.sub("", README)
    assert count.numbers(prose) == []
    rows = [line for line in README.splitlines() if line.startswith("| [")]
    assert rows and all(re.fullmatch(r".+ \| \[[^]]+\]\(benchmarks/results/\w+\.csv\) \|", row) for row in rows)


def test_commands_of_the_readme_are_those_that_there_are():
    targets = re.findall(r"`make (\w+)`", README)
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert len(targets) >= 4 and [name for name in targets if not re.search(rf"^{name}:", rules, re.MULTILINE)] == []
    # An sdist has no settings of the CI.
    if (commands := ROOT / ".ci" / "run").exists():
        (said,) = re.findall(r"CI ends with `([^`]+)`", README)
        assert said in commands.read_text(encoding="utf-8").splitlines()


def answers():
    """What each kind of reader writes, of the README's table and of the site's."""
    return [line.split(" | ")[1] for line in tables.READERS.splitlines()]


@pytest.fixture(scope="module")
def readers(after_readme):
    """What the readers of the README's table have: its names beside those of the package."""
    names, data = {**vars(skclamp), **after_readme[0]}, after_readme[0]["data"]
    net, X, y = data.network, data.X_cal, data.y_cal
    with torch.no_grad():
        names["logits"] = net(torch.from_numpy(X))
    names |= {
        "net": net,
        "X": X,
        "y": y,
        "X_new": data.X_test,
        "y_new": data.y_test,
        "U": data.X_test,
        "table": X.reshape(len(X), -1),
    }
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    names |= {"model": net, "loader": DataLoader(dataset, batch_size=64)}
    columns = pd.DataFrame(names["logits"].numpy()).add_prefix("logit ")
    names["frame"] = columns.assign(category=np.where(y > 4, "large", "small"))
    probabilities = pd.DataFrame(names["logits"].softmax(1).numpy()).add_prefix("score ")
    names["boxes"] = probabilities.assign(**{"class": np.arange(len(y)) % 3 < 2, "size": X.mean(axis=(1, 2, 3))})
    names["image"] = np.arange(len(y)) // 2
    names["classifier"] = LogisticRegression(max_iter=1000).fit(names["table"], y)
    names["number"] = np.arange(len(y))
    names["calibrator"] = skclamp.NeuralClampingCalibrator(net, random_state=0).fit(X, y)
    return names


def of_pixels(readers):
    """Those names where each pixel of the digits has a class: whether there is ink, as one channel tells."""
    net = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        net.weight[:] = torch.tensor([-9.0, 9.0])[:, None, None, None]
        net.bias[:] = torch.tensor([4.0, -4.0])
    ink = readers["X"][:, 0] > 0.5
    # Labels that X decides would leave T without a value.
    wrong = np.random.default_rng(0).random(ink.shape) < 0.1
    return {**readers, "net": net, "y": (ink ^ wrong).astype(int)}


# Fog has made the network's probabilities wrong class by class, which `adapt` says.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the probabilities are off class by class")
@pytest.mark.parametrize("code", answers())
def test_what_the_readme_tells_each_reader_to_write(code, readers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # In a table of CSV.
    assert f"`{code}`".replace('"', '""') in INDEX
    names = of_pixels(readers) if "groups=number" in code else dict(readers)
    eval(compile(code, "README.md", "eval"), names)


def test_readme_links_to_what_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def linked(page):
    """Pages that a page links to, its table of contents included, by their names below docs."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    targets = re.findall(
        r":doc:`(?:[^`<]*<)?([^`>]+)>?`|^ +:link: (\S+)$|^   (?:[^:<\n]+ <)?([\w/]+)>?$", text, re.MULTILINE
    )
    places = [
        Path(target) if (target := "".join(each)).startswith("/") else Path("/", page).parent / target
        for each in targets
    ]
    return {name for place in places if (DOCS / f"{(name := os.path.normpath(place).lstrip('/'))}.rst").exists()}


@pytest.mark.parametrize(("question", "answer"), ASKED.items())
def test_answers_are_within_two_clicks_and_name_what_is_asked(question, answer):
    assert answer in set().union(*map(linked, linked("index")))
    text = (DOCS / f"{answer}.rst").read_text(encoding="utf-8").lower()
    assert f"! {question.lower()}" in text


def test_the_package_gives_the_messages_of_the_page_on_troubleshooting():
    """What their first cells quote, as far as no number or name stands in it."""
    page = (DOCS / "guide" / "troubleshooting.rst").read_text(encoding="utf-8")
    cells = re.findall(r"^   \* - .*(?:\n {7}.*)*", page, flags=re.MULTILINE)
    quoted = [each for cell in cells for each in re.findall(r"``([^`]+ [^`]+)``", re.sub(r"\s+", " ", cell))]
    code = (path.read_text(encoding="utf-8") for path in Path(skclamp.__file__).parent.rglob("*.py"))
    strings = [node.value for text in code for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    words = "\n".join(value for value in strings if isinstance(value, str))
    assert len(quoted) > 30
    assert [message for message in quoted if not all(part in words for part in message.split("…"))] == []

"""Count what the inside of the package is held to, each value beside its floor: nodes, ways of a fit, names.

Run it from the repository's environment: ``python tools/count.py``.
"""

import ast
import copy
import io
import re
import sys
import tokenize
import warnings
from collections import Counter
from pathlib import Path
from types import FunctionType

import numpy as np
import torch

import skclamp
from skclamp import NeuralClampingCalibrator
from skclamp.base import BaseCalibrator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skclamp"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MEMBERS = (FunctionType, property, classmethod, staticmethod)
# Docstrings say what a thing does or is.
OPENERS = re.compile(r"(What|Whether|Those|How)\b")
LONG, SHORT = 80, 3
# What is to be the size of rooms, in nodes.
ROOMS = {
    "clamping": 27_000,
    "base": 7_500,
    "_backbones + _utils": 24_000,
    "_judging + _pooling + _looks": 16_500,
    "_solvers": 10_000,
    "the rest": 79_000,
}
COMPREHENSIONS = "<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>"
PRIVATE_MODULE = re.compile(
    r"^\s*(?:from skclamp(?:\.\w+)*\._\w+|from skclamp[\w.]* import _\w+|import skclamp[\w.]*\._)", re.M
)


def sources(folder):
    """Python files below a folder of the repository."""
    return sorted((ROOT / folder).rglob("*.py"))


def n_lines(folder):
    """Lines of Python below a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources(folder))


def lines_of_code(text, tree):
    """Numbers of the lines that are neither blank, nor comment, nor docstring, nor import."""
    aside = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    rows = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in aside:
            rows |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            rows -= set(range(node.lineno, node.end_lineno + 1))
        elif isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and ast.get_docstring(node) is not None:
            rows -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return rows


def parsed():
    """(path, tree, numbers of its lines of code) of each file of the package."""
    for path in sources("skclamp"):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        yield path.relative_to(ROOT), tree, lines_of_code(text, tree)


def n_nodes(tree):
    """Nodes of a syntax tree without docstrings."""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return sum(1 for _ in ast.walk(tree))


def nodes_by_room(files):
    """(rooms, nodes, floor) of the package."""
    by_room = Counter()
    for path, tree, _ in files:
        room = path.parts[1] if len(path.parts) > 2 else ""
        rooms = next((rooms for rooms in ROOMS if room in rooms.split(" + ")), "the rest")
        by_room[rooms] += n_nodes(tree)
    for rooms, floor in ROOMS.items():
        yield rooms, by_room[rooms], floor
    yield "all", by_room.total(), sum(ROOMS.values())


def entered(call):
    """How many functions of the package a call enters, and how deep, the second time that it is made."""
    seen, deepest = set(), 0

    def note(frame, event, _):
        nonlocal deepest
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)) or code.co_name in COMPREHENSIONS:
            return
        seen.add((code.co_filename, code.co_firstlineno))
        depth = 0
        while frame:
            code, frame = frame.f_code, frame.f_back
            depth += code.co_filename.startswith(str(PACKAGE)) and code.co_name not in COMPREHENSIONS
        deepest = max(deepest, depth)

    call()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return f"{len(seen)} / {deepest}"


def ways():
    """(what, functions / depth, floor) of three fits and a prediction, on a table that was shifted."""
    torch.manual_seed(0)
    X = torch.randn(600, 7)
    network = torch.nn.Sequential(torch.nn.Linear(7, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    with torch.no_grad():
        network[2].weight.mul_(20)
        logits = network(X)
        y = torch.distributions.Categorical(logits=logits / 1.5).sample().numpy()
    # Of shifted inputs clamping keeps a perturbation.
    X, shifted, logits = X.numpy(), (0.4 * X - 0.5).numpy(), logits.numpy()
    scaling = skclamp.TemperatureScaling(network)
    clamping = skclamp.NeuralClampingCalibrator(network, random_state=0)
    yield "TemperatureScaling of logits", entered(lambda: skclamp.TemperatureScaling().fit(logits, y)), "75 / 9"
    yield "TemperatureScaling of a network", entered(lambda: scaling.fit(X, y)), "100 / 10"
    yield "neural clamping that keeps nothing", entered(lambda: clamping.fit(X, y)), "330 / 15"
    yield "neural clamping that keeps a perturbation", entered(lambda: clamping.fit(shifted, y)), "400 / 16"
    yield "predict_proba of a network", entered(lambda: scaling.predict_proba(X)), "38 / 8"


def numbers(text):
    """Numbers in what a reader sees of a Markdown text, code apart."""
    text = re.sub(r"```.*?```|`[^`]+`|<!--.*?-->|(?<=\])\([^)]*\)", "", text, flags=re.DOTALL)
    return re.findall(r"\d+(?:[.,]\d+)*", text)


def readme(text=None):
    """(what, value, floor) of README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8") if text is None else text
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.strip("|").split(" | ")]
    yield "lines of README", len(text.splitlines()), 60
    yield "words of README, code among them", len(re.findall(r"\S*\w\S*", text)), 600
    yield "words of its longest cell of a table", max((len(cell.split()) for cell in cells), default=0), 25
    yield "numbers outside of its code", len(numbers(text)), 20


def methods_and_hooks(base):
    """How many methods a class defines, and how many of the private ones a class of the package overrides."""
    defined = {name for name, member in vars(base).items() if isinstance(member, MEMBERS)}
    below = set().union(*(vars(child) for child in descendants(base)))
    return f"{len(defined)} / {sum(name.startswith('_') and not name.endswith('__') for name in defined & below)}"


def descendants(base):
    """Classes derived from a class, at any depth."""
    children = base.__subclasses__()
    return {*children, *(each for child in children for each in descendants(child))}


def show(value, floor, what, details=()):
    """Print one number, what it is to be, and what is counted."""
    print(f"{value!s:>12}  {floor!s:>10}  {what}")
    for detail in details:
        print(f"{'':>26}{detail}")


def main():
    """Print every number."""
    show("value", "floor", "what")
    for folder, floor in (("skclamp", ""), ("tests", 30_000), ("benchmarks", "")):
        show(n_lines(folder), floor, f"lines of Python in {folder}/")
    for what, value, floor in readme():
        show(value, floor, what)
    files = list(parsed())
    for rooms, value, floor in nodes_by_room(files):
        show(value, floor, f"nodes of syntax trees without docstrings: {rooms}")
    np.seterr(all="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, value, floor in ways():
            show(value, floor, f"functions entered / depth, the second time: {what}")
    for base, floor in ((BaseCalibrator, "30 / 8"), (NeuralClampingCalibrator, "25")):
        show(methods_and_hooks(base), floor, f"methods of {base.__name__} / private ones that its children override")
    nodes = [(path, node, rows) for path, tree, rows in files for node in ast.walk(tree)]
    show(sum(isinstance(node, (*FUNCTIONS, ast.Lambda)) for _, node, _ in nodes), 1_400, "functions and lambdas")
    openings = [
        f"{path}:{node.body[0].lineno}"
        for path, node, _ in nodes
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and OPENERS.match(ast.get_docstring(node) or "")
    ]
    show(len(openings), 0, "docstrings that open with What, Whether, Those or How", openings)
    for name in ("Evidence", "Verdict"):
        places = [str(path) for path, node, _ in nodes if isinstance(node, ast.ClassDef) and node.name.endswith(name)]
        show(len(places), 1, f"classes named {name}, or of some", places)
    tests = [path for path in sources("tests") if path.name.startswith("test_")]
    private = [path for path in tests if PRIVATE_MODULE.search(path.read_text(encoding="utf-8"))]
    show(
        len(private),
        12,
        f"of {len(tests)} test files that import private modules",
        [p.relative_to(ROOT) for p in private],
    )
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources("skclamp"))
    named = Counter(re.findall(r"\w+", text))
    sized = [
        (f"{path}:{node.name}", node.name, len(rows & set(range(node.lineno, node.end_lineno + 1))))
        for path, node, rows in nodes
        if isinstance(node, FUNCTIONS)
    ]
    once = [
        place
        for place, name, n in sized
        if name.startswith("_") and not name.endswith("__") and named[name] == 2 and n <= SHORT + 1
    ]
    show(len(once), "few", f"private functions named once, of {SHORT} lines or fewer below their head", once)
    long = [f"{n} {place}" for place, _, n in sized if n > LONG]
    show(len(long), 0, f"functions above {LONG} lines of code that aren't one loop", long)


if __name__ == "__main__":
    main()

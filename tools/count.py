"""Count what the shape of the package is held to: rooms, floors, long files and functions, the way of X in a fit.

Run it from the repository's environment: ``python tools/count.py``. It needs import-linter (the extra ``dev``).
"""

import ast
import inspect
import sys
from collections import Counter
from pathlib import Path

import grimp
import numpy as np
import torch
from importlinter.api import read_configuration

import skclamp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skclamp"
MAX_FILE, MAX_FUNCTION, MANY_KEYWORDS = 400, 50, 6


def sources(*folders):
    """Python files below folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if "_build" not in path.parts]


def n_lines(path):
    """Number of a file's lines."""
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path):
    """(name, node, lines of the file) of every function and method in a file."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", node, text.splitlines()


def lines_of_code(node, lines):
    """Lines of a function, its docstring, blank lines and comments aside."""
    rows = set(range(node.lineno, node.end_lineno + 1))
    if ast.get_docstring(node) is not None:
        rows -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(bool(lines[row - 1].strip()) and not lines[row - 1].lstrip().startswith("#") for row in rows)


def n_keywords(node):
    """How many parameters of a function are keyword-only or have a default."""
    return len(node.args.kwonlyargs) + len(node.args.defaults)


def constructors():
    """Lines of each constructor of the package with many keyword parameters, by name."""
    return {
        f"{name}@{node.lineno}": node.end_lineno - node.lineno + 1
        for path in sources("skclamp")
        for name, node, _ in functions(path)
        if node.name == "__init__" and n_keywords(node) >= MANY_KEYWORDS
    }


def floors():
    """Rooms of each floor from the top, as the contract of import-linter in pyproject.toml says."""
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [{"__init__"}, *({room.strip() for room in layer.split("|")} for layer in layers)]


def room_of(module):
    """The room that a module of the package lies in."""
    return (module.split(".") + ["__init__"])[1]


def arrows(graph, house):
    """How many imports tie two rooms, and those among them that don't lead to a lower floor."""
    floor = {room: place for place, rooms in enumerate(house) for room in rooms}
    pairs = [(a, b) for a in graph.modules for b in graph.find_modules_directly_imported_by(a)]
    between = [(a, b) for a, b in pairs if room_of(a) != room_of(b)]
    return between, [(a, b) for a, b in between if floor[room_of(a)] >= floor[room_of(b)]]


def in_circles(graph):
    """Modules that import themselves through others."""
    return [
        module
        for module in graph.modules
        if any(
            graph.direct_import_exists(importer=each, imported=module) for each in graph.find_upstream_modules(module)
        )
    ]


class Trip:
    """The calls by which X, or a batch of its rows, comes into a room from another one, up to the network's first.

    Parameters
    ----------
    X : ndarray
        What `fit` is given. A call brings it where an argument is X, has X's shape but for the number of rows, or is a
        dict or an object of the package with such a value.
    """

    def __init__(self, X):
        self._shape = X.shape[1:]
        self._frames = {}
        self.entered = []
        self.arrived = False

    def __call__(self, frame, event, _):
        """What `sys.setprofile` calls."""
        # A generator that goes on is no other call; kept frames keep their addresses.
        if self.arrived or event != "call" or id(frame) in self._frames:
            return
        room = self._room(frame)
        if room is None:
            return
        self._frames[id(frame)] = frame
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if room != self._caller(frame) and any(self._holds(frame.f_locals.get(name)) for name in names):
            self.entered.append(room)

    def arrive(self, *_):
        """Hook of the network: what comes after its first call isn't followed."""
        self.arrived = True

    def _room(self, frame):
        path = Path(frame.f_code.co_filename)
        return path.relative_to(PACKAGE).parts[0].removesuffix(".py") if path.is_relative_to(PACKAGE) else None

    def _caller(self, frame):
        frame = frame.f_back
        while frame is not None and self._room(frame) is None:
            frame = frame.f_back
        return None if frame is None else self._room(frame)

    def _holds(self, value, inside=True):
        if isinstance(value, np.ndarray | torch.Tensor):
            return value.ndim == len(self._shape) + 1 and tuple(value.shape[1:]) == self._shape
        if isinstance(value, dict):
            return any(self._holds(part, inside=False) for part in value.values())
        own = type(value).__module__.partition(".")[0] == "skclamp"
        return (
            inside and own and any(self._holds(part, inside=False) for part in getattr(value, "__dict__", {}).values())
        )


def trip(calibrator):
    """Rooms that X enters on its way to the network in the fit of a calibrator of tables of 7 features, 3 classes."""
    torch.manual_seed(0)
    X = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    network = torch.nn.Sequential(torch.nn.Linear(7, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    found = Trip(X)
    with torch.no_grad():
        y = torch.distributions.Categorical(logits=network(torch.from_numpy(X))).sample().numpy()
    network.register_forward_pre_hook(found.arrive)
    sys.setprofile(found)
    try:
        calibrator.set_params(estimator=network).fit(X, y)
    finally:
        sys.setprofile(None)
    return found.entered


def show(what, value, details=()):
    """Print one number, and what is counted."""
    print(f"{value!s:>8}  {what}")
    for detail in details:
        print(f"{'':>10}{detail}")


def count_rooms():
    """Modules, floors, imports and circles."""
    flat = [path.name for path in PACKAGE.glob("_*.py") if path.name != "__init__.py"]
    show("private modules flat in skclamp/: files _*.py beside __init__.py", len(flat), flat)
    house, graph = floors(), grimp.build_graph("skclamp", cache_dir=None)
    show("floors of rooms: layers of the contract in pyproject.toml, and __init__ on top", len(house))
    between, upwards = arrows(graph, house)
    rooms = {(room_of(a), room_of(b)) for a, b in between}
    show("rooms and public files that import another: pairs", len(rooms))
    show("imports that run up, or across a floor: pairs of modules", len(upwards), upwards)
    circles = in_circles(graph)
    show("modules in a circle of imports", len(circles), circles)


def count_sizes():
    """Files, functions, constructors and lines."""
    for name, folders in (("the package", ["skclamp"]), ("tests, benchmarks, tools, examples", TESTED)):
        files = {str(path.relative_to(ROOT)): n_lines(path) for path in sources(*folders)}
        long = {file: n for file, n in files.items() if n > MAX_FILE}
        show(f"files above {MAX_FILE} lines: {name}", len(long), [f"{n} {file}" for file, n in long.items()])
        found = ((place, lines_of_code(node, lines)) for p in sources(*folders) for place, node, lines in functions(p))
        long = [f"{n} {place}" for place, n in found if n > MAX_FUNCTION]
        show(
            f"functions above {MAX_FUNCTION} lines of code, docstrings, comments and blanks aside: {name}",
            len(long),
            long,
        )
    shown = constructors()
    details = [f"{n} {name}" for name, n in shown.items()]
    show(f"lines of constructors with {MANY_KEYWORDS} or more keyword parameters", sum(shown.values()), details)
    parameters = inspect.signature(skclamp.NeuralClampingCalibrator).parameters
    show("parameters of NeuralClampingCalibrator beside estimator", len(parameters) - 1)
    for folder in ("skclamp", "tests"):
        show(f"lines of Python in {folder}/", sum(map(n_lines, sources(folder))))


def count_trip():
    """The way of X to the network."""
    for calibrator in (skclamp.TemperatureScaling(), skclamp.NeuralClampingCalibrator(random_state=0)):
        entered = trip(calibrator)
        again = {room: times for room, times in Counter(entered).items() if times > 1}
        show(
            f"rooms that X or a batch of it enters before the network's first call, {type(calibrator).__name__}.fit",
            len(set(entered)),
            [" > ".join([*entered, "network"]), f"entered more than once: {again or 'none'}"],
        )


TESTED = ["tests", "benchmarks", "tools", "examples"]


def main():
    """Print every number."""
    count_rooms()
    count_sizes()
    count_trip()
    print("Not counted here: `time make test`, `make coverage`.")


if __name__ == "__main__":
    main()

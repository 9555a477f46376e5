"""Check that every module of the package imports only from below, as the table of floors here says.

A module may import whatever is on a floor below its own, and of its own floor the earlier rows of its own wing. Imports
inside functions count too. A new module goes into a row; where none fits, it has more than one job, or imports what it
shouldn't. Run by `make lint`; needs no package.
"""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "skclamp"

# Floors from the ground up, each of wings that don't know of each other, each of rows of modules that don't either.
FLOORS = [
    {
        "what stands by itself": [
            "_arrays _cells _distinct _docstrings _encoding _folds _layer_calls _least_probability _posterior "
            "_progress _stacking _version _warnings _wrappers exceptions losses perturbations",
            "_pickling",
            "distributed",
        ],
    },
    {
        "checks, bins and exact temperatures": [
            "_class_maps _guard _temperature_rows _validation",
            "_binning _data_sets _device _metadata _temperature",
            "_plausibility",
        ],
    },
    {
        "whatever the user has becomes logits": [
            "_classifier_modules _data _fold",
            "modules",
            "_fast _skorch",
            "_backbone",
        ],
        "metrics": [
            "metrics._reduction",
            "metrics._calibration metrics._kernel_density metrics._kolmogorov_smirnov metrics._less_biased "
            "metrics._proper_scores metrics._smooth",
            "metrics._decomposition metrics._noise_floor metrics._resampling metrics._scorers",
            "metrics._bootstrap",
            "metrics",
        ],
    },
    {
        "what every calibrator shares": [
            "_differentiable persistence",
            "_cross_fit",
            "base",
        ],
    },
    {
        "scaling": [
            "scaling._rank_maps scaling._softmax_regression",
            "scaling._one_vs_rest scaling._strengths",
            "scaling._ensemble_temperature_scaling scaling._order_preserving scaling._spline_calibration "
            "scaling._temperature_first scaling._temperature_scaling",
            "scaling._affine scaling._intra_order_preserving scaling._one_vs_rest_scaling",
            "scaling._matrix_scaling scaling._parameterized_temperature_scaling scaling._structured_scaling "
            "scaling._vector_scaling",
            "scaling",
        ],
        "nonparametric": [
            "nonparametric._one_vs_rest nonparametric._quantiles",
            "nonparametric._bayesian_binning nonparametric._histogram_binning nonparametric._isotonic "
            "nonparametric._venn_abers",
            "nonparametric._accuracy_preserving",
            "nonparametric",
        ],
        "clamping": [
            "_problem _scores",
            "_training",
            "_natural _sharded_training",
            "_learner",
            "_clamping",
            "clamping",
            "clamping_cv",
        ],
    },
    {
        "selection": [
            "_trial",
            "selection",
        ],
        "pictures and reports": [
            "display._axes",
            "display._curves display._diagram display._perturbation_panels",
            "display._perturbation display._reliability",
            "display._reliability_grid",
            "display",
            "_comparison _comparison_figure _comparison_page",
            "report",
        ],
    },
    {"the public names": [""]},
]

# What is imported at the top of a module: the dependencies, and what these depend on themselves.
ANYWHERE = {"numpy", "scipy", "sklearn", "skorch", "tabulate", "torch", "tqdm", *sys.stdlib_module_names}
# Others that one module has at its top: the pickler that joblib has of its own where it isn't installed.
AT_THE_TOP = {"_pickling": {"cloudpickle", "joblib"}}
# The one importer of scikit-learn's private helpers.
PRIVATE_HELPERS = "_validation"


class Place(NamedTuple):
    """Where a module stands."""

    floor: int
    wing: str
    row: int

    def is_above(self, other):
        """Whether a module here may import one there."""
        return self.floor > other.floor or (self[:2] == other[:2] and self.row > other.row)


class Import(NamedTuple):
    """A name that a module imports, such as ``torch.nn``, and where it does so."""

    name: str
    line: int
    in_function: bool


def places(floors=FLOORS):
    """The place of each module that the table holds."""
    return {
        module: Place(floor, wing, row)
        for floor, wings in enumerate(floors)
        for wing, rows in wings.items()
        for row, modules in enumerate(rows)
        for module in modules.split() or [""]
    }


def modules_of(package):
    """Files of a package by the module's name within it; that of the package itself is empty."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree, package, in_function=False):
    """Everything that a module imports; `package` is the full name of the package that relative names start from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            names = []
            yield from imports(node, package, in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        yield from (Import(name, node.lineno, in_function) for name in names)


def faults_of(module, there, package, floors):
    """What is wrong with a module's imports."""
    path = there[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = list(imports(tree, ".".join(filter(None, [package, parent]))))
    for name, line, in_function in found:
        top, *inner = name.split(".")
        if top == package:
            target = _module_in(inner, there)
            if target in floors and not floors[module].is_above(floors[target]):
                yield f"{path}:{line}: {module or package} is not above {target or package}, which it imports"
        elif top not in ANYWHERE | AT_THE_TOP.get(module, set()) and not in_function:
            yield f"{path}:{line}: {top} is optional, and imported at the top; import it where it is used"
        elif top == "sklearn" and module != PRIVATE_HELPERS and any(re.match("_[^_]", part) for part in inner):
            yield f"{path}:{line}: {name} is private to scikit-learn; only {PRIVATE_HELPERS} imports such helpers"
    says_nothing = re.search(
        r"imports\s+nothing\s+of\s+the\s+package(?!\s+but)", ast.get_docstring(tree) or "", re.IGNORECASE
    )
    if says_nothing and any(name.split(".")[0] == package for name, *_ in found):
        yield f"{path}:1: {module} imports something of the package, and its docstring says nothing"


def _module_in(parts, there):
    """The module of the package that an imported name is or lies in."""
    while parts and ".".join(parts) not in there:
        parts = parts[:-1]
    return ".".join(parts)


def faults(package, floors=FLOORS):
    """What is wrong with a package's imports, and with the table of its floors."""
    known, there = places(floors), modules_of(package)
    table = Path(__file__).name
    found = [f"{there[name]}: {name} is on no floor; add it to {table}" for name in there.keys() - known]
    found += [f"{table}: {name} is on a floor, and there is no such module" for name in known.keys() - there]
    for module in there.keys() & known:
        found += faults_of(module, there, package.name, known)
    return sorted(found)


def main():
    """Print what is wrong; the exit status says whether anything is."""
    found = faults(ROOT / PACKAGE)
    print("\n".join(found) or f"{len(places())} modules, each above what it imports")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

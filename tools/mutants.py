"""How many faults the fast tests notice: a sample of small changes of the numeric rooms, each tested by its own room.

Run it from the repository's environment, which needs the extra ``dev``: ``python tools/mutants.py --sample 300``. A
place in the code is drawn, then one of cosmic-ray's changes there: another operator, comparison, number or branch.
Constants of modules and classes, which tune and decide nothing, are left alone, and so are annotations. The changes are
made in copies; those that nobody noticed are shown.
"""

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome

ROOT = Path(__file__).resolve().parents[1]
# Each room with what tests it.
ROOMS = {
    "_solvers": "tests/_solvers tests/scaling",
    "clamping": "tests/clamping",
    "metrics": "tests/metrics",
    "modules": "tests/modules",
    "persistence.py": "tests/test_persistence.py tests/test_persistence_networks.py tests/test_damaged_files.py",
    "selection": "tests/selection",
}
PARTS = ("benchmarks", "examples", "skclamp", "tests", "tools", "README.md", "pyproject.toml", "setup.cfg")
# A change that makes a loop endless is noticed by this.
TIMEOUT = 900.0


def spared(path):
    """Lines of a file's constants and, as (line, from, to), its annotations."""
    tree, lines, spans = ast.parse(path.read_text(encoding="utf-8")), set(), set()
    for scope in ast.walk(tree):
        if isinstance(scope, ast.Module | ast.ClassDef):
            constants = [node for node in scope.body if isinstance(node, ast.Assign | ast.AnnAssign)]
            lines.update(line for node in constants for line in range(node.lineno, node.end_lineno + 1))
        for name in ("annotation", "returns"):
            node = getattr(scope, name, None)
            if node is not None:
                spans.add((node.lineno, node.col_offset, node.end_col_offset))
    return lines, spans


def is_spared(mutation, lines, spans):
    """Whether a change is one of a constant or an annotation."""
    line, column = mutation.start_pos
    return line in lines or any(line == row and start <= column < end for row, start, end in spans)


def changes(room):
    """Possible changes of a room's files, by place."""
    source = ROOT / "skclamp" / room
    paths = [source] if source.is_file() else sorted(source.rglob("*.py"))
    with tempfile.TemporaryDirectory() as folder, use_db(Path(folder) / "all.sqlite", WorkDB.Mode.create) as found:
        init(paths, found, {})
        mutations = [item.mutations[0] for item in found.work_items]
    kept = {path: spared(path) for path in paths}
    places = defaultdict(list)
    for mutation in mutations:
        if not is_spared(mutation, *kept[mutation.module_path]):
            places[mutation.module_path, mutation.start_pos, mutation.end_pos].append(mutation)
    return places


def draw(rooms, n_changes, seed):
    """A sample of (room, change)."""
    generator = random.Random(seed)
    places = [(room, at, found) for room in rooms for at, found in changes(room).items()]
    drawn = generator.sample(sorted(places, key=lambda place: (place[0], place[1])), min(n_changes, len(places)))
    return [(room, generator.choice(found)) for room, _, found in drawn]


def copied(folder):
    """A copy of what the tests need."""
    for name in PARTS:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(path, folder)
    return folder


def command_of(folder, room):
    """The fast tests of a room in a copy."""
    pytest = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {ROOMS[room]}"
    return f"sh -c 'cd {folder} && OMP_NUM_THREADS=1 PYTHONPATH={folder} exec {pytest}'"


def check_unchanged(folder, rooms):
    """Changes say nothing where the tests fail without them."""
    runs = {room: subprocess.run(command_of(folder, room), shell=True, capture_output=True) for room in rooms}
    failing = [room for room, ran in runs.items() if ran.returncode]
    if failing:
        raise SystemExit(f"the tests of {', '.join(failing)} fail as they are")


def tested(copies, room, mutation):
    """Whether a change, made in a copy that is free, is noticed; and the change itself."""
    folder = copies.get()
    try:
        path = folder / mutation.module_path.relative_to(ROOT)
        changed = type(mutation)(path, *(getattr(mutation, name) for name in FIELDS))
        result = mutate_and_test([changed], command_of(folder, room), TIMEOUT)
    finally:
        copies.put(folder)
    if result.worker_outcome != WorkerOutcome.NORMAL:
        raise RuntimeError(f"{mutation} wasn't tried: {result.output}")
    noticed = result.test_outcome != TestOutcome.SURVIVED
    print(f"{'noticed' if noticed else 'MISSED '} {mutation.module_path.relative_to(ROOT)}:{mutation.start_pos[0]}")
    return noticed, result.diff


FIELDS = ("operator_name", "occurrence", "start_pos", "end_pos", "operator_args", "definition_name")


def main():
    """Draw changes, test them, and print what was noticed and what wasn't."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=300, help="how many changes are tried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    options = parser.parse_args()
    drawn = draw(options.rooms, options.sample, options.seed)
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(options.jobs) as pool:
        copies = Queue()
        for number in range(options.jobs):
            (Path(top) / str(number)).mkdir()
            copies.put(copied(Path(top) / str(number)))
        check_unchanged(Path(top) / "0", sorted({room for room, _ in drawn}))
        results = list(pool.map(lambda each: tested(copies, *each), drawn))
    for (room, _), (noticed, diff) in zip(drawn, results, strict=True):
        if not noticed:
            print(f"\nmissed by the tests of {room}:\n{diff}")
    total, missed = Counter(room for room, _ in drawn), Counter()
    missed.update(room for (room, _), (noticed, _) in zip(drawn, results, strict=True) if not noticed)
    for room in total:
        print(f"{room:15} {total[room] - missed[room]} of {total[room]} noticed")
    print(f"{'all':15} {len(drawn) - missed.total()} of {len(drawn)} noticed")


if __name__ == "__main__":
    main()

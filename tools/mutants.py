"""How many faults the fast tests notice: a sample of small changes of the numeric rooms, each tested where it acts.

Run it from the repository's environment, which needs the group ``dev``: ``python tools/mutants.py --sample 300``. A
place in the code is drawn, then one of cosmic-ray's changes there: another operator, comparison, number or branch.
Constants of modules and classes, which tune and decide nothing, are left alone, and so are annotations. The changes are
made in copies. Each meets the fast tests that execute its line, those of its own room first; those that nobody noticed
are shown.
"""

import argparse
import ast
import itertools
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from xml.etree import ElementTree

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome
from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("_solvers", "clamping", "metrics", "modules", "persistence.py", "selection")
# What tells a change of cosmic-ray's but the file.
FIELDS = ("operator_name", "occurrence", "start_pos", "end_pos", "operator_args", "definition_name")
# A change that makes a loop endless is noticed by this.
TIMEOUT = 600.0
# The fast tests that a change meets take together at most so long, in seconds, when nothing is changed.
MAX_DURATION = 60.0


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
    """A copy of what is under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.strip("\0").split("\0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def environment(folder):
    """Settings of a run in a copy: its package, one thread, the data beside the repository."""
    data = os.environ.get("SKCLAMP_DATA", ROOT / "../shared/data")
    return {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "SKCLAMP_DATA": str(Path(data).resolve())}


def run_pytest(folder, *arguments):
    """Run the fast tests of a copy that nothing has changed, or some of them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    ran = subprocess.run(command, cwd=folder, env=os.environ | environment(folder), capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"the tests fail as they are:\n{ran.stdout[-3000:]}")


def watched(folder):
    """Run the fast tests of a copy; how long each took, and the tests that execute each line."""
    report = ("--junitxml=tests.xml", "-o", "junit_family=xunit1")
    run_pytest(folder, "--cov=skclamp", "--cov-context=test", "--cov-report=", *report)
    cases = ElementTree.parse(folder / "tests.xml").iter("testcase")
    durations = {name_of(case): float(case.get("time")) for case in cases}
    # A name that pytest doesn't know would look like a change that was noticed.
    (folder / "tests.txt").write_text("\n".join(durations), encoding="utf-8")
    run_pytest(folder, "--collect-only", "@tests.txt")
    found = CoverageData(str(folder / ".coverage"))
    found.read()
    return durations, found


def name_of(case):
    """Name of a test for pytest, from its entry in a report, whose file is where the function was made."""
    parts = case.get("classname").split(".")
    n = next(k for k in range(len(parts), 0, -1) if ROOT.joinpath(*parts[:k]).with_suffix(".py").exists())
    return "::".join(["/".join(parts[:n]) + ".py", *parts[n:], case.get("name")])


def scope_around(tree, line):
    """Lines of the innermost function or class that holds a line: defaults and decorators act where it runs."""
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            decorators = [each.lineno for each in getattr(node, "decorator_list", ())]
            spans.append(range(min([node.lineno, *decorators]), node.end_lineno + 1))
    return min((span for span in spans if line in span), key=len, default=())


def tests_of(mutation, folder, durations, found):
    """The tests that execute a change, file by file: its own room's first, then the shortest."""
    path = mutation.module_path.relative_to(ROOT)
    contexts = {line: set(names) - {""} for line, names in found.contexts_by_lineno(str(folder / path)).items()}
    lines = range(mutation.start_pos[0], mutation.end_pos[0] + 1)
    if not any(contexts.get(line) for line in lines):
        lines = scope_around(ast.parse(mutation.module_path.read_text(encoding="utf-8")), lines[0])
    phases = [context.rpartition("|") for line in lines for context in contexts.get(line, ())]
    # A fixture of a file runs in the setup of the first test that asks for it.
    shared = {name.partition("::")[0] for name, _, phase in phases if phase != "run"}
    names = {name for name, _, _ in phases} | {name for name in durations if name.partition("::")[0] in shared}
    room = path.parts[1].removesuffix(".py")
    by_file = defaultdict(list)
    for name in sorted(names & set(durations), key=durations.get):
        by_file[name.partition("::")[0]].append(name)
    files = sorted(by_file, key=lambda file: (room not in file, sum(map(durations.get, by_file[file]))))
    ordered = [name for file in files for name in by_file[file]]
    total = itertools.accumulate(map(durations.get, ordered))
    return [name for name, spent in zip(ordered, total, strict=True) if spent <= MAX_DURATION]


def command_of(folder):
    """The shell's command that runs the tests named in a copy."""
    settings = shlex.join(f"{name}={value}" for name, value in environment(folder).items())
    pytest = f"exec env {settings} {sys.executable} -m pytest -x -q -p no:cacheprovider @tests.txt"
    return shlex.join(["sh", "-c", f"cd {folder} && {pytest}"])


def tested(copies, mutation, tests):
    """Whether a change, made in a copy that is free, is noticed by some tests, None if it can't be; and the change."""
    folder = copies.get()
    try:
        (folder / "tests.txt").write_text("\n".join(tests), encoding="utf-8")
        path = folder / mutation.module_path.relative_to(ROOT)
        changed = type(mutation)(path, *(getattr(mutation, name) for name in FIELDS))
        result = mutate_and_test([changed], command_of(folder) if tests else "true", TIMEOUT)
    finally:
        copies.put(folder)
    place = f"{mutation.module_path.relative_to(ROOT)}:{mutation.start_pos[0]}"
    if result.worker_outcome != WorkerOutcome.NORMAL:
        print(f"skipped {place}, which cosmic-ray can't change")
        return None, result.diff
    noticed = result.test_outcome != TestOutcome.SURVIVED
    print(f"{'noticed' if noticed else 'MISSED '} {place} ({len(tests)} tests)", flush=True)
    return noticed, result.diff


def main():
    """Draw changes, test them, and print what was noticed and what wasn't."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=300, help="how many changes are tried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=ROOMS)
    options = parser.parse_args()
    drawn = draw(options.rooms, options.sample, options.seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as top, ThreadPoolExecutor(options.jobs) as pool:
        copies = Queue()
        for number in range(options.jobs):
            (Path(top) / str(number)).mkdir()
            copies.put(copied(Path(top) / str(number)))
        watching = watched(Path(top) / "0")
        tests = [tests_of(mutation, Path(top) / "0", *watching) for _, mutation in drawn]
        results = list(pool.map(lambda mutation, names: tested(copies, mutation, names), (m for _, m in drawn), tests))
    tried = [(room, *result) for (room, _), result in zip(drawn, results, strict=True) if result[0] is not None]
    for room, noticed, diff in tried:
        if not noticed:
            print(f"\nmissed by the tests of {room}:\n{diff}")
    total = Counter(room for room, _, _ in tried)
    missed = Counter(room for room, noticed, _ in tried if not noticed)
    for room in total:
        print(f"{room:15} {total[room] - missed[room]} of {total[room]} noticed")
    print(f"{'all':15} {len(tried) - missed.total()} of {len(tried)} noticed")


if __name__ == "__main__":
    main()

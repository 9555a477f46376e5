"""Draws cases anew for as long as it is told to, and shrinks those that fail: ``python tools/fuzz.py --seconds 600``.

Run it from the repository's environment, which needs the group ``test``. The kinds of cases are those of
``tests/campaign``, of which the fast run has a few. What fails is printed with what was drawn, shrunk, as the arguments
of an ``@example`` of the test, and kept in ``fuzz-failures.txt``.
"""

import argparse
import faulthandler
import importlib
import os
import random
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of each kind at most this many times what the fast run draws, then the next; at first fewer, so that all have a turn.
ROUND = 16
# Seconds after which a case hangs; where nothing of Python's can end it, the process is ended.
DEADLINE = 120
FAILURES = ROOT / "fuzz-failures.txt"


def kinds(chosen=()):
    """The properties of tests/campaign by name."""
    for path in (ROOT, ROOT / "tests", ROOT / "tests/campaign"):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    for path in sorted((ROOT / "tests/campaign").glob("test_*.py")):
        importlib.import_module(path.stem)
    campaign = importlib.import_module("_campaign")
    found = {name: kind for name, kind in campaign.KINDS.items() if not chosen or any(part in name for part in chosen)}
    return campaign, found


def search(seconds, seed, chosen):
    """Draw for so many seconds, and tell what fails; how many cases of each kind were run, and how often it failed."""
    os.environ |= {"SKCLAMP_DEADLINE": str(DEADLINE), "MPLBACKEND": "agg", "SCIPY_ARRAY_API": "1"}
    import hypothesis
    import torch

    torch.set_num_threads(1)
    campaign, found = kinds(chosen)
    generator, end = random.Random(seed), time.monotonic() + seconds
    told, failed, size = {}, Counter(), 1
    while time.monotonic() < end:
        for name, kind in generator.sample(sorted(found.items()), len(found)):
            if time.monotonic() >= end:
                break
            faulthandler.dump_traceback_later(10 * DEADLINE, exit=True)
            options = hypothesis.settings(campaign.PATIENT, max_examples=size * kind.n_cases)
            try:
                hypothesis.seed(generator.getrandbits(64))(kind.test(options))()
            except Exception as error:  # noqa: BLE001
                failed[name] += 1
                if (name, place(error)) not in told:
                    told[name, place(error)] = tell(name, error)
                    print(f"\n{told[name, place(error)]}", flush=True)
                    with FAILURES.open("a") as file:
                        file.write(f"seed {seed}\n{told[name, place(error)]}\n\n")
            faulthandler.cancel_dump_traceback_later()
        size = min(ROUND, 2 * size)
    return campaign.DONE, failed


def place(error):
    """What tells a failure from others."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return type(error).__name__, frame.filename, frame.lineno


def tell(name, error):
    """A failure in a few lines: its error, the way to it, and what was drawn."""
    frames = traceback.extract_tb(error.__traceback__)
    way = [f"  {Path(f.filename).name}:{f.lineno} {f.line}" for f in frames if "hypothesis" not in f.filename][-6:]
    drawn = "\n".join(getattr(error, "__notes__", []))
    return "\n".join([f"{name}: {type(error).__name__}: {str(error)[:600]}", *way, drawn])


def main():
    """Draw in one process or several, and print cases and failures by kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--seed", type=int, default=None, help="drawn if not given")
    parser.add_argument("--kinds", nargs="+", default=(), help="parts of names of tests/campaign's tests")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(search, options.seconds, seed + job, options.kinds) for job in range(options.jobs)]
        results = [run.result() for run in runs]
    done, failed = (sum(each, Counter()) for each in zip(*results, strict=True))
    print(f"\n{'kind':70} {'cases':>8} {'failures':>8}")
    for name in sorted(done):
        print(f"{name:70} {done[name]:8} {failed[name]:8}")
    print(f"{'all':70} {done.total():8} {failed.total():8}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()

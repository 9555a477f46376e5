"""Run a benchmark by its name: ``python benchmarks/run.py shift`` does as ``python benchmarks/shift.py``.

Without a name it lists them all.
"""

import ast
import importlib
import sys
from pathlib import Path

from _runner import command

FOLDER = Path(__file__).parent


def benchmarks():
    """The first line of each benchmark's docstring, by its name."""
    names = (path.stem for path in sorted(FOLDER.glob("[a-z]*.py")) if path.stem not in ("run", "tables"))
    texts = {name: (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in names}
    return {name: ast.get_docstring(ast.parse(text)).splitlines()[0] for name, text in texts.items()}


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in benchmarks():
        command(importlib.import_module(sys.argv[1]).main, sys.argv[2:])
    else:
        print("\n".join(f"{name:22} {title}" for name, title in benchmarks().items()))

"""A CSV file that grows row by row: interrupted runs go on where they ended, several processes can share the work."""

import csv
import io
from pathlib import Path


class ResultFile:
    """Results on disk, some rows to a run; a run is known by the first columns of its rows.

    Parameters
    ----------
    path : path
        File to read what there is from, and to append to.
    columns : sequence of str
        Its header.
    n_key : int
        How many of the columns tell runs apart.

    Raises
    ------
    ValueError
        If the file exists with another header.
    """

    def __init__(self, path, columns, n_key):
        self.path, self.columns, self.n_key = Path(path), list(columns), n_key
        self.done = self._read() if self.path.exists() else self._start()

    def __contains__(self, key):
        return tuple(map(str, key)) in self.done

    def append(self, rows):
        """Add the rows of a run, all or none: one write, which processes with the same file don't tear apart."""
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())
        self.done.update(tuple(str(row[name]) for name in self.columns[: self.n_key]) for row in rows)

    def _read(self):
        with self.path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        if header != self.columns:
            raise ValueError(f"{self.path} must have the columns {self.columns} to be continued, got {header}")
        return {tuple(row[: self.n_key]) for row in rows}

    def _start(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(",".join(self.columns) + "\n", encoding="utf-8")
        return set()

"""Texts that have changed: a clamp of a language model against temperature scaling and a selector.

    python benchmarks/intents.py --data DIR
    python benchmarks/intents.py --data DIR --changes typos50 --sizes 500 --draws 1

The folder's banking77 has a MiniLM with a head for the 77 intents of Banking77 (Casanueva et al., 2020), token ids of
the texts as they are and under eight changes, and `model.py`, which loads them. Texts come in ragged batches, each
padded to its longest. `over` is the NLL less that of temperature scaling, on 3,080 other texts.
"""

import importlib.util
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from _runner import RESULTS, benchmark, record, show
from _scores import beside_temperature, facts, nll_and_accuracy, predicted
from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling

CHANGES = ("none", "upper", "nopunct", "typos15", "typos50", "drop20", "trunc6", "voice", "glued")
KEY = ("change", "n", "draw", "method")
COLUMNS = (*KEY, "nll", "accuracy", "accepted", "families", "temperature", "forward", "backward")
BATCH_SIZE = 64


class Intents:
    """The network and the texts of a folder."""

    def __init__(self, data):
        folder = Path(data) / "banking77"
        spec = importlib.util.spec_from_file_location("banking77", folder / "model.py")
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.network = self.module.load()
        with np.load(folder / "banking.npz") as file:
            self.file = dict(file)
        self.logits = cache(self.logits)

    def loader(self, change, rows):
        """Ragged batches, labels among them."""
        texts = self.module.Texts(self.file[f"ids_{change}"][rows], self.file["y"][rows])
        return DataLoader(texts, batch_size=BATCH_SIZE, collate_fn=self.module.collate)

    def calibration(self, n, draw):
        """Rows of the texts to calibrate with."""
        return np.random.default_rng(draw).permutation(self.file["cal"])[:n]

    @torch.no_grad()
    def logits(self, change, part):
        """Those of all the texts of a part, as they are, by row."""
        rows = self.file[part]
        batches = self.loader(change, rows)
        logits = torch.cat([self.network(**{k: v for k, v in b.items() if k != "labels"}).logits for b in batches])
        return dict(zip(rows.tolist(), logits.numpy(), strict=True))

    def measure(self, change, n, draw):
        """A row for each method."""
        rows, test = self.calibration(n, draw), self.file["test"]
        y, y_test = self.file["y"][rows], self.file["y"][test]
        of_calibration = np.stack([self.logits(change, "cal")[row] for row in rows])
        of_test = np.stack([*self.logits(change, "test").values()])
        classes = np.arange(of_test.shape[1])
        clamping = NeuralClampingCalibrator(self.network, random_state=0, classes=classes)
        clamping.fit(self.loader(change, rows))
        maps = {"temperature": TemperatureScaling(classes=classes), "selector": CalibratorSelector(classes=classes)}
        found = {name: each.fit(of_calibration, y).predict_log_proba(of_test) for name, each in maps.items()}
        found["clamping"] = predicted(clamping, self.loader(change, test), of_test)
        for method, log_proba in found.items():
            yield {"method": method, **nll_and_accuracy(log_proba, y_test)} | (
                facts(clamping) if method == "clamping" else {}
            )


@benchmark
def main(data=None, changes: CHANGES = CHANGES, sizes=(200, 500, 2000), draws=3, out=RESULTS / "intents.csv"):
    intents = Intents(data)
    cells = product(changes, sizes, range(draws))
    results = record(out, COLUMNS, cells, lambda *cell: list(intents.measure(*cell)))
    results = beside_temperature(results, [*KEY[:-1]])
    results = results[results.method != "temperature"]
    show(results, ["method", "n"], ["over", "accepted", "forward", "backward"])
    show(results, ["change"], ["over"], "method")

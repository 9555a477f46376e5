"""Boxes that a small detector found in 300 scenes: the image of each, its score, and whether it matched an object."""

from pathlib import Path

import pandas as pd

boxes = pd.read_csv(Path(__file__).with_name("boxes.csv"))
score, matched, image = (boxes[name].to_numpy() for name in ("score", "matched", "image"))

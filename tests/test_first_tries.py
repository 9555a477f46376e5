"""What users try first: it is taken, or its message has the mend."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _small_networks import labels_of
from scipy.special import softmax
from torch import nn
from torch.utils.data import DataLoader

from skclamp import (
    NeuralClampingCalibrator,
    SelectiveClassifier,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.display import ReliabilityDisplay
from skclamp.metrics import (
    negative_log_likelihood,
)


def drawn(n_samples=300, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n_samples, 3))
    return logits, (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)


def test_one_calibrator_is_compared_alone():
    found = compare_calibrators(None, *drawn(), *drawn(seed=1), calibrators=VectorScaling(), n_resamples=20, n_draws=20)
    assert set(found) == {"VectorScaling", "uncalibrated"}
    assert len(found) == 2
    assert "uncalibrated" in found


def test_a_class_reads_its_files(tmp_path):
    network, (X, y) = torch.nn.Identity(), drawn(600)
    calibrator = TemperatureScaling(network).fit(X.astype(np.float32), y)
    calibrator.save(tmp_path / "t.safetensors")
    loaded = TemperatureScaling.load(tmp_path / "t.safetensors", network)
    assert loaded.temperature_ == calibrator.temperature_
    with pytest.raises(TypeError, match="must be a file of a VectorScaling; got that of a TemperatureScaling"):
        VectorScaling.load(tmp_path / "t.safetensors", network)
    X, y = drawn(600, seed=1)
    selective = SelectiveClassifier(calibrator, target_risk=0.3).fit(X.astype(np.float32), y)
    selective.save(tmp_path / "s.safetensors")
    assert SelectiveClassifier.load(tmp_path / "s.safetensors", calibrator).threshold_ == selective.threshold_


def test_names_of_columns_are_those_of_classes():
    logits, y = drawn()
    names = np.array(["cat", "ant", "bee"])
    frame, proba = pd.DataFrame(logits, columns=names), softmax(logits, axis=1)
    calibrator = TemperatureScaling().fit(frame, names[y])
    assert calibrator.classes_.tolist() == names.tolist()
    assert calibrator.temperature_ == TemperatureScaling().fit(logits, y).temperature_
    expected = negative_log_likelihood(y, proba)
    assert negative_log_likelihood(names[y], pd.DataFrame(proba, columns=names)) == expected
    reordered = frame[sorted(names)]
    comparison = {"calibrators": VectorScaling(), "n_resamples": 20, "n_draws": 20}
    with pytest.raises(ValueError, match="X_test must have its columns in the order of X_cal"):
        compare_calibrators(None, frame, names[y], reordered, names[y], **comparison)


def test_the_event_is_that_of_the_second_named_column():
    logits, y = drawn()
    names, y = np.array(["yes", "no"]), (y > 0).astype(int)
    proba = pd.DataFrame(softmax(logits[:, :2], axis=1), columns=names)
    display = ReliabilityDisplay.from_predictions(names[y], proba, n_draws=0)
    assert display.event == "no"
    of_one = ReliabilityDisplay.from_predictions(names[y], proba, pos_label="no", n_draws=0)
    np.testing.assert_array_equal(of_one.bins.accuracy, display.bins.accuracy)
    plt.close("all")


class Reader(nn.Module):
    """A small model as Hugging Face's are: tokens and their mask by name, and an output with logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)
        with torch.no_grad():
            self.head.weight.mul_(8)

    def forward(self, input_ids, attention_mask, labels=None):
        hidden = self.encoder(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        pooled = (hidden * attention_mask[:, :, None]).sum(1) / attention_mask.sum(1, keepdim=True)
        return {"logits": self.head(self.norm(pooled))}


def padded(rows):
    """A batch, padded to its longest text."""
    ids = nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


def texts(model, seed, n_samples=300, written=lambda ids: ids):
    """A loader of ragged texts, labelled by the model itself; they are `written` otherwise than those that it read."""
    rng = np.random.default_rng(seed)
    ids = [torch.from_numpy(rng.integers(1, 20, size=rng.integers(3, 12))) for _ in range(n_samples)]
    batch = padded([{"input_ids": row, "label": 0} for row in ids])
    with torch.no_grad():
        y = labels_of(model(batch["input_ids"], batch["attention_mask"])["logits"], seed=seed)
    rows = [{"input_ids": written(row), "label": int(label)} for row, label in zip(ids, y, strict=True)]
    return DataLoader(rows, batch_size=32, collate_fn=padded)


class Careless(Reader):
    """A reader that may do without a mask, and then reads the padding."""

    def forward(self, input_ids, attention_mask=None):
        return super().forward(input_ids, torch.ones_like(input_ids) if attention_mask is None else attention_mask)


def inverted(batch):
    """Such a network sees nothing but padding, of which each text has some."""
    longer = {name: nn.functional.pad(batch[name], (0, 3)) for name in ("input_ids", "attention_mask")}
    return {**batch, **longer, "attention_mask": 1 - longer["attention_mask"]}


def unmasked(batch):
    return {name: entry for name, entry in batch.items() if name != "attention_mask"}


def padded_before(batch):
    """Texts at the end of their rows, as decoders have them."""
    order = batch["attention_mask"].sort(dim=1, stable=True).indices
    return {**batch, **{name: batch[name].gather(1, order) for name in ("input_ids", "attention_mask")}}


class Heedful(Reader):
    """A reader that finds the padding by itself."""

    def forward(self, input_ids, attention_mask=None):
        return super().forward(input_ids, (input_ids > 0).long())


def of_heads(batch):
    """A mask for each head, all alike."""
    return {**batch, "attention_mask": batch["attention_mask"][:, None]}


class Broad(Reader):
    """A reader that takes a mask for each head."""

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask[:, 0])


class Around(nn.Module):
    """A careless reader that takes any names."""

    def __init__(self):
        super().__init__()
        self.reader = Careless()

    def forward(self, **inputs):
        return self.reader(**inputs)


class Maskless(Careless):
    """A reader that takes no mask."""

    def forward(self, input_ids):
        return super().forward(input_ids)


@pytest.mark.parametrize(
    ("make", "change", "is_told"),
    [
        (Careless, inverted, True),
        (Careless, unmasked, True),
        (Careless, padded_before, False),
        (Heedful, unmasked, False),
        (Broad, of_heads, False),
        (Around, unmasked, True),
        (Maskless, unmasked, False),
    ],
)
def test_padding_that_is_read_is_told(make, change, is_told):
    model = make().eval()
    loader = texts(Reader().eval(), 0)
    loader.collate_fn = lambda rows: change(padded(rows))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TemperatureScaling(model).fit(loader)
    assert any("the network reads the padding of texts" in str(each.message) for each in caught) is is_told


def test_the_row_of_readme_on_texts():
    """Ragged tokens by the defaults: fitted, predicted and compared."""
    model = Reader().eval()
    loader, test = texts(model, 0), texts(model, 1)
    assert NeuralClampingCalibrator(model, random_state=0).fit(loader).predict_proba(test).shape == (300, 3)
    comparison = compare_calibrators(model, loader, X_test=test, n_resamples=20, n_draws=20)
    assert "NeuralClampingCalibrator" in comparison
    # What was padded in memory is predicted in batches of their own lengths too.
    calibrator = NeuralClampingCalibrator(model, random_state=0).fit(padded(loader.dataset))
    expected = calibrator.predict_proba(padded(test.dataset))
    np.testing.assert_allclose(calibrator.predict_proba(test), expected, rtol=0, atol=1e-4)

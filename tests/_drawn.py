"""What the campaign draws: tables, probabilities, labels and weights, sound or not, each of a few plain numbers."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

SPECIAL = [0.0, -0.0, 1.0, 0.5, 5e-324, 1e-300, -1e-42, 1e-8, 65504.0, 1e13, 3.4e38, -3.5e38, 1e300, np.nan, np.inf]
FLOATS = ["float64", "float32", "float16", ">f8", ">f4", "longdouble"]
DTYPES = [*FLOATS, "int64", "int8", "uint8", "uint64", ">i4", "bool", "object", "complex128", "str", "datetime64[s]"]
LAYOUTS = ["C", "F", "strided", "reversed", "read-only", "tensor", "transposed tensor", "list"]
ANY_LAYOUT = [*LAYOUTS, "bfloat16", "gradient", "frame", "masked", "scalar", "None", "ragged"]


def seeds():
    return st.integers(0, 2**16)


def generator(seed):
    return np.random.default_rng(seed)


# Arrays, and how they lie in memory


def laid_out(values, layout):
    """The same numbers in another container or order; of what doesn't exist in it, as an array."""
    makers = {
        "F": np.asfortranarray,
        "strided": lambda v: np.repeat(v, 2, axis=0)[::2],
        "reversed": lambda v: v[::-1].copy()[::-1],
        "read-only": _read_only,
        "tensor": _tensor,
        "transposed tensor": lambda v: _tensor(v.T.copy()).mT if v.ndim == 2 else _tensor(v),
        "list": lambda v: v.tolist(),
        "bfloat16": lambda v: _tensor(v).bfloat16(),
        "gradient": lambda v: _tensor(v.astype(np.float64)).requires_grad_(),
        "frame": lambda v: pd.DataFrame(v) if v.ndim == 2 else pd.Series(v),
        "masked": lambda v: np.ma.masked_array(v, v == v.flat[0]),
        "scalar": lambda v: v.flat[0],
        "None": lambda v: None,
        "ragged": lambda v: [*v.tolist(), [0.0] * 11],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return makers.get(layout, np.asarray)(values)
        except (TypeError, ValueError, IndexError, RuntimeError):
            return values


def _read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def _tensor(values):
    return torch.from_numpy(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="))))


@dataclass(frozen=True)
class Table:
    """Numbers of normal distribution about 0, of one size, some of them replaced."""

    shape: tuple
    scale: float = 0
    seed: int = 0
    spots: tuple = ()
    dtype: str = "float64"
    layout: str = "C"

    def values(self):
        values = np.asarray(generator(self.seed).normal(size=self.shape) * 10.0**self.scale)
        for place, special in self.spots:
            if values.size:
                values.flat[place % values.size] = special
        with np.errstate(all="ignore"):
            try:
                return values.astype(self.dtype)
            except (TypeError, ValueError, OverflowError):
                return values

    def given(self):
        return laid_out(self.values(), self.layout)


def spots():
    return st.lists(st.tuples(st.integers(0, 99), st.sampled_from(SPECIAL)), max_size=3).map(tuple)


def any_table():
    """Of any shape, kind and numbers."""
    shape = st.one_of(
        st.tuples(st.integers(0, 12), st.integers(1, 5)),
        st.tuples(st.integers(0, 40)),
        st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(1, 3)),
        st.just(()),
    )
    return st.builds(
        Table,
        shape,
        st.one_of(st.just(0), st.integers(-300, 300)),
        seeds(),
        spots(),
        st.one_of(st.sampled_from(FLOATS), st.sampled_from(DTYPES)),
        st.one_of(st.sampled_from(LAYOUTS), st.sampled_from(ANY_LAYOUT)),
    )


@st.composite
def sound_logits(draw, fewest=1, most=40, scale=None):
    """Logits that every calibrator takes."""
    n, k = draw(st.integers(fewest, most)), draw(st.integers(2, 6))
    shape = draw(st.sampled_from([(n,), (n, 1)])) if k == 2 and draw(st.booleans()) else (n, k)
    scale = draw(st.one_of(st.sampled_from([0, 1]), st.integers(-300, 12))) if scale is None else scale
    # A list of half-precision numbers is one of Python's, and half precision ends at 65504.
    dtype = draw(st.sampled_from(FLOATS)) if scale <= 3 else "float64"
    return Table(shape, scale, draw(seeds()), (), dtype, draw(st.sampled_from(LAYOUTS)))


@dataclass(frozen=True)
class Proba:
    """Probabilities: a softmax of logits of one size; of whole votes, with ties and zeros; or one-hot."""

    n_samples: int
    n_classes: int
    kind: str = "softmax"
    sharpness: float = 0
    seed: int = 0
    dtype: str = "float64"
    layout: str = "C"

    def values(self):
        rng = generator(self.seed)
        logits = rng.normal(size=(self.n_samples, self.n_classes)) * 10.0**self.sharpness
        proba = np.exp(logits - logits.max(1, keepdims=True))
        proba /= proba.sum(1, keepdims=True)
        if self.kind == "votes":
            proba = rng.multinomial(4, proba) / 4
        if self.kind == "one-hot":
            proba = np.eye(self.n_classes)[proba.argmax(1)]
        return proba.astype(self.dtype)

    def given(self):
        return laid_out(self.values(), self.layout)


def sound_probabilities():
    return st.builds(
        Proba,
        st.integers(1, 40),
        st.integers(2, 6),
        st.sampled_from(["softmax", "votes", "one-hot"]),
        st.integers(-3, 3),
        seeds(),
        st.sampled_from(FLOATS),
        st.sampled_from(LAYOUTS),
    )


# Labels

NAMINGS = {
    "indices": np.arange,
    "uint8": lambda k: np.arange(k, dtype=np.uint8),
    "floats": lambda k: np.arange(k, dtype=np.float64),
    "half": lambda k: np.arange(k, dtype=np.float16),
    "big-endian": lambda k: np.arange(k, dtype=">i4"),
    "from 1": lambda k: np.arange(1, k + 1),
    "gaps": lambda k: 7 * np.arange(k) - 10,
    "huge": lambda k: np.arange(k) + 2**62,
    "strings": lambda k: np.array([f"class {i}" for i in range(k)]),
    "objects": lambda k: np.array([f"class {i}" for i in range(k)], dtype=object),
    "bools": lambda k: np.array([False, True]) if k == 2 else np.arange(k),
}
CONTAINERS = ["array", "list", "tuple", "tensor", "column", "read-only", "reversed", "series", "categorical"]


@dataclass(frozen=True)
class Labels:
    """Labels drawn evenly from some of the classes, which have names; given in a container."""

    naming: str = "indices"
    container: str = "array"
    n_present: int = 99
    seed: int = 0
    told: bool = False

    def encoded(self, n_samples, n_classes):
        present = generator(self.seed).permutation(n_classes)[: self.n_present]
        return generator(self.seed).choice(present, n_samples)

    def names(self, n_classes):
        return NAMINGS[self.naming](n_classes)

    def given(self, n_samples, n_classes):
        y = self.names(n_classes)[self.encoded(n_samples, n_classes)]
        return contained(y, self.container)

    def classes(self, n_samples, n_classes):
        """What must, or may, be said of the columns."""
        known = {"indices", "uint8", "floats", "half", "big-endian", "bools"}
        all_there = len(set(self.encoded(n_samples, n_classes).tolist())) == n_classes
        needless = self.naming in known or (all_there and self.naming != "from 1")
        return None if needless and not self.told else self.names(n_classes)


def contained(y, container):
    makers = {
        "list": lambda y: y.tolist(),
        "tuple": lambda y: tuple(y.tolist()),
        "tensor": _tensor,
        "column": lambda y: y[:, None],
        "read-only": _read_only,
        "reversed": lambda y: y[::-1].copy()[::-1],
        "series": lambda y: pd.Series(y.astype(y.dtype.newbyteorder("=")), index=np.arange(len(y))[::-1]),
        "categorical": lambda y: pd.Series(y.astype(y.dtype.newbyteorder("="))).astype("category"),
    }
    try:
        return makers.get(container, np.asarray)(y)
    except (TypeError, ValueError, NotImplementedError):
        return y


def sound_labels():
    return st.builds(
        Labels,
        st.sampled_from(list(NAMINGS)),
        st.sampled_from(CONTAINERS),
        st.sampled_from([99, 99, 2, 1]),
        seeds(),
        st.booleans(),
    )


@dataclass(frozen=True)
class Oddly:
    """What stands where labels should, or labels of which some were replaced."""

    how: str
    labels: Labels = Labels()

    def given(self, n_samples, n_classes):
        y = np.asarray(self.labels.names(n_classes)[self.labels.encoded(n_samples, n_classes)])
        return ODD_LABELS[self.how](y)

    def classes(self, n_samples, n_classes):
        return self.labels.classes(n_samples, n_classes)


def _with_first(y, value):
    y = y.astype(object)
    y[:1] = [value]
    return y


ODD_LABELS = {
    "continuous": lambda y: generator(0).normal(size=len(y)),
    "NaN": lambda y: np.where(np.arange(len(y)) == 0, np.nan, np.arange(len(y)) % 2),
    "infinite": lambda y: np.where(np.arange(len(y)) == 0, np.inf, 0.0),
    "NaN object": lambda y: _with_first(y, np.nan),
    "None object": lambda y: _with_first(y, None),
    "pandas NA": lambda y: _with_first(y, pd.NA),
    "NaT": lambda y: _with_first(y, np.datetime64("NaT", "D")),
    "list within": lambda y: _with_first(y, [1]),
    "another type": lambda y: _with_first(y, "x" if y.dtype.kind in "biuf" else 3),
    "one-hot": lambda y: np.eye(3)[np.arange(len(y)) % 3],
    "longer": lambda y: np.concatenate([y, y[:1]]),
    "shorter": lambda y: y[1:],
    "empty": lambda y: y[:0],
    "scalar": lambda y: y.flat[0] if len(y) else 0,
    "string": lambda y: "abc",
    "None": lambda y: None,
    "dict": lambda y: {"y": y},
    "set": lambda y: set(y.tolist()),
    "complex": lambda y: np.arange(len(y)) + 0j,
    "dates": lambda y: np.arange(len(y)).astype("datetime64[D]"),
    "bytes": lambda y: y.astype("S"),
    "void": lambda y: y.view("V1")[: len(y)] if y.dtype.kind in "iu" and y.flags.c_contiguous else y,
    "ragged": lambda y: [[0], [0, 1]] * max(1, len(y) // 2),
    "too many": lambda y: np.arange(len(y)) + 100,
    "negative": lambda y: np.full(len(y), -1),
    "nullable": lambda y: pd.Series(np.arange(len(y)) % 2).astype("Int64"),
    "nullable with NA": lambda y: pd.Series([pd.NA, *[0] * (len(y) - 1)], dtype="Int64")[: len(y)],
    "nullable string": lambda y: pd.Series(y.astype(str)).astype("string"),
    "frame": lambda y: pd.DataFrame({"y": y.astype(object)}),
    "masked": lambda y: np.ma.masked_array(y, np.arange(len(y)) == 0),
    "gradient": lambda y: torch.zeros(len(y), requires_grad=True),
    "half tensor": lambda y: torch.zeros(len(y), dtype=torch.bfloat16),
    "3-d": lambda y: y.reshape(len(y), 1, 1) if len(y) else y,
    "beyond int64": lambda y: np.full(len(y), 2**63, dtype=np.uint64),
}


def any_labels():
    return st.one_of(
        sound_labels(), sound_labels(), st.builds(Oddly, st.sampled_from(list(ODD_LABELS)), sound_labels())
    )


# Weights

WEIGHTS = {
    "none": lambda n, rng: None,
    "ones": lambda n, rng: np.ones(n),
    "whole": lambda n, rng: np.maximum(rng.integers(0, 4, n), np.arange(n) == 0),
    "zeros but one": lambda n, rng: (np.arange(n) == 0).astype(float),
    "uniform": lambda n, rng: rng.uniform(0.5, 2, n),
    "tiny": lambda n, rng: rng.uniform(0.5, 2, n) * 1e-99,
    "huge": lambda n, rng: rng.uniform(0.5, 2, n) * 1e99,
    "far apart": lambda n, rng: 10 ** rng.uniform(-30, 15, n),
    "float32": lambda n, rng: rng.uniform(0.5, 2, n).astype(np.float32),
    "big-endian": lambda n, rng: rng.uniform(0.5, 2, n).astype(">f8"),
    "bools": lambda n, rng: np.ones(n, bool),
    "list": lambda n, rng: rng.uniform(0.5, 2, n).tolist(),
    "tensor": lambda n, rng: torch.from_numpy(rng.uniform(0.5, 2, n)),
    "scalar": lambda n, rng: 2.0,
}
ODD_WEIGHTS = {
    "negative": lambda n, rng: rng.normal(size=n),
    "NaN": lambda n, rng: np.full(n, np.nan),
    "infinite": lambda n, rng: np.where(np.arange(n) == 0, np.inf, 1.0),
    "zeros": lambda n, rng: np.zeros(n),
    "too huge": lambda n, rng: np.full(n, 1e200),
    "subnormal": lambda n, rng: np.full(n, 5e-324),
    "longer": lambda n, rng: np.ones(n + 1),
    "empty": lambda n, rng: np.ones(0),
    "column": lambda n, rng: np.ones((n, 1)),
    "strings": lambda n, rng: np.full(n, "1"),
    "words": lambda n, rng: np.full(n, "heavy"),
    "complex": lambda n, rng: np.ones(n) + 1j,
    "objects": lambda n, rng: np.array([1, None] * n, dtype=object)[:n],
    "ragged": lambda n, rng: [[1.0], [1.0, 2.0]],
    "word": lambda n, rng: "balanced",
    "dict": lambda n, rng: {0: 1.0},
    "dates": lambda n, rng: np.ones(n, "datetime64[s]"),
    "gradient": lambda n, rng: torch.ones(n, requires_grad=True),
    "bfloat16": lambda n, rng: torch.ones(n, dtype=torch.bfloat16),
    "longdouble": lambda n, rng: np.ones(n, np.longdouble),
}


@dataclass(frozen=True)
class Weights:
    """Weights of samples, of some kind."""

    kind: str = "none"
    seed: int = 0

    def given(self, n_samples):
        return {**WEIGHTS, **ODD_WEIGHTS}[self.kind](n_samples, generator(self.seed))

    def values(self, n_samples):
        given = self.given(n_samples)
        return np.broadcast_to(np.asarray(1.0 if given is None else given, dtype=float), n_samples)


def sound_weights():
    return st.builds(Weights, st.sampled_from(list(WEIGHTS)), seeds())


def any_weights():
    sound = st.sampled_from(list(WEIGHTS))
    return st.builds(Weights, st.one_of(sound, sound, st.sampled_from(list(ODD_WEIGHTS))), seeds())

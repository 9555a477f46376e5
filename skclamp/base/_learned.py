"""What a calibrator has learned: taken on, given away, and forgotten."""

from contextlib import contextmanager
from html import escape

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from .._backbones.opening import is_frozen
from ._parameters import CONFIGURED


class LearnedMixin(BaseEstimator):
    """The learned attributes of a calibrator, and the estimator that they belong to."""

    def _learned(self):
        """What `save` keeps beside the parameters."""
        learned = {name for name in vars(self) if name.startswith("_") or name.endswith("_")}
        return {name: getattr(self, name) for name in sorted(learned - self._not_saved - set(CONFIGURED))}

    def _restore(self, learned, backbone=None):
        """Take on what `_learned` gave, around the network of `backbone` or, without one, the calibrator's own."""
        shadowing = [name for name in learned if hasattr(type(self), name)]
        if shadowing:
            raise ValueError(f"{type(self).__name__} doesn't learn {shadowing[0]!r}")
        self.__dict__.update(learned)
        self._backbone = self._open_backbone() if backbone is None else backbone

    def _rebind(self, reading, classes, /, **params):
        """Take an estimator's inputs from now on, having been fitted to the logits that it gave."""
        self.set_params(**params)
        self.__dict__.pop("module_", None)
        del self.n_features_in_
        self._remember(reading, classes)
        return self

    def _remember(self, reading, classes):
        """Take on what predictions need beside what was learned."""
        X = reading.X
        self._backbone = reading.deployed
        self.classes_ = classes
        if not is_frozen(self.estimator):
            self.estimator_ = reading.estimator
        if not isinstance(X, torch.utils.data.Dataset):
            shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
            # Images have no number of features: what is told one tries the estimator on rows of so many.
            if len(shape) <= 2:
                self.n_features_in_ = int(shape[1]) if len(shape) > 1 else 1
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True)

    def _forget(self):
        for name in [name for name in vars(self) if name.endswith("_") or name == "_backbone"]:
            delattr(self, name)

    def summary(self):
        """What was learned, in a few sentences.

        Returns
        -------
        str
            For reading; its words may change.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skclamp import TemperatureScaling
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(scale=3.0, size=(1000, 3))
        >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
        >>> print(TemperatureScaling().fit(logits, y).summary())
        Accuracy 68.8%, mean confidence 82.1% -> 68.6%, NLL 0.8513 -> 0.7198 in sample. TemperatureScaling learned 1
        number from 1,000 samples: temperature_ = 2.016.
        """
        check_is_fitted(self)
        scores = getattr(self, "_scores", None)
        sentences = [] if scores is None else [scores.sentence(self._n_samples, self._held_out)]
        sentences += self._sentences()
        if getattr(self, "least_probability_", 0.0):
            sentences.append(f"Probabilities of 0 count as {self.least_probability_:.2g}.")
        return " ".join(sentences)

    def _html_repr(self):
        """What notebooks show: scikit-learn's diagram and, once fitted, the summary below it."""
        diagram = super()._html_repr()
        return f"{diagram}<p>{escape(self.summary())}</p>" if self.__sklearn_is_fitted__() else diagram

    @property
    def _held_out(self):
        """Hook: what the held-out samples of the summary are to the map."""
        return "out of fold"

    def _sentences(self):
        """Hook: those of `summary`."""
        n = self._n_parameters
        learned = f"{type(self).__name__} learned {n:,} number{'s' * (n != 1)} from {self._n_samples:,} samples"
        hidden = ("_", "least_probability_")
        public = [(name, value) for name, value in vars(self).items() if name.endswith("_")]
        scalars = [
            f"{name} = {value:.4g}"
            for name, value in public
            if isinstance(value, float) and not name.startswith(hidden)
        ]
        yield f"{learned}{': ' * bool(scalars)}{', '.join(scalars)}."

    @property
    def _n_parameters(self):
        """Hook: how many numbers of the map the fit has set; by default, all floats in the learned attributes."""
        learned = (
            {name for name in vars(self) if name.endswith("_")} - {"classes_", "least_probability_"} - self._not_saved
        )
        return sum(n_floats(getattr(self, name)) for name in learned)

    @property
    def _n_free(self):
        """Hook: how many of them nothing but the samples holds: no penalty, no pooling, no held-out samples."""
        return 0

    @contextmanager
    def _kept_on_error(self):
        """Leave the calibrator as it was when the body raises, an earlier fit included."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise


def n_floats(value):
    """How many floats a learned attribute holds; indices, counts and flags are none."""
    if isinstance(value, LearnedMixin):
        return value._n_parameters
    if isinstance(value, torch.nn.Module):
        value = list(value.parameters())
    if isinstance(value, (list, tuple)):
        return sum(map(n_floats, value))
    if isinstance(value, torch.Tensor):
        return value.numel() if value.is_floating_point() else 0
    known = isinstance(value, (float, np.floating, np.ndarray))
    return np.size(value) if known and np.asarray(value).dtype.kind == "f" else 0

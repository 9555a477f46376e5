"""Watch: what monitors share, from samples before the watch to alarms, files and pictures."""

import math
from typing import ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..base._around import AroundEstimator
from ..display import MonitorDisplay
from ..persistence import write
from ._alarms import Alarms, watch_on
from ._watched import one_after_another

# What a watch keeps beside what the user sees.
_KEPT = ("_alarms", "_backbone", "_evidence", "_held_out", "_latest", "_rules", "_threshold", "_watched")
UNSEEN = "This %(name)s instance has seen no samples yet: it is not fitted. Call 'partial_fit' with samples and labels."


class Watch(AroundEstimator):
    """A stream of samples, the evidence in it, and the first alarm; `_rule_names` are the parameters that must stay."""

    # What nobody may choose in view of the samples, nor change between them.
    _rule_names: ClassVar[tuple] = ("alpha", "average_run_length")

    _not_saved: ClassVar[frozenset] = frozenset({"_backbone", "_watched"})

    alarm_: bool

    def plot(self, *, ax=None, name=None, **kwargs):
        """Draw the evidence over samples.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name in the legend; None takes that of the estimator's class.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        MonitorDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            Before `partial_fit`.
        ImportError
            If matplotlib isn't installed: ``pip install "skclamp[plot]"``.
        """
        check_is_fitted(self, msg=UNSEEN)
        return MonitorDisplay.from_estimator(self, ax=ax, name=name, **kwargs)

    def save(self, path):
        """Write what was seen to a file, without the estimator; `skclamp.load` reads it, and the watch goes on.

        Parameters
        ----------
        path : str or path-like
            The safetensors file to write. One that is there is replaced once the new one is complete.

        Raises
        ------
        NotFittedError
            Before `partial_fit`.
        FileNotFoundError
            If there is no such folder.
        ImportError
            If safetensors isn't installed: ``pip install "skclamp[save]"``.
        """
        check_is_fitted(self, msg=UNSEEN)
        write(self, path)

    def _validate_params(self):
        super()._validate_params()
        for name, value in getattr(self, "_rules", {}).items():
            if not np.array_equal(getattr(self, name), value):
                raise ValueError(
                    f"{name} must stay {value}, with which the samples so far were watched; got "
                    f"{getattr(self, name)}. fit starts anew"
                )
        if hasattr(self, "_watched") and self._watched is not self._frozen_part():
            raise ValueError(
                "estimator must stay the one that was watched so far; got another "
                f"{type(self._frozen_part()).__name__}. fit starts a new watch"
            )

    def _watch_held_out(self, X, y, groups, params):
        """Forget what was seen, and watch samples that come before the watch."""
        for name in vars(self).keys() - self.get_params(deep=False).keys():
            if name.endswith("_") or name in _KEPT:
                delattr(self, name)
        self.partial_fit(X, y, groups=groups, **params)
        self._held_out, self.never_true_ = True, self.alarm_

    def _start(self, evidence):
        """Start a watch with the parameters, and the estimator, as they are."""
        self._evidence, self._alarms = evidence, Alarms([None, None])
        self._rules = {name: getattr(self, name) for name in self._rule_names}
        self._watched = self._frozen_part()

    def _take_on(self, samples, keys, skipped):
        """Watch samples, arrays with a row each, and keys of groups or None; set what the user sees.

        `skipped` are the numbers of others, by the attributes that count them.
        """
        begins = getattr(self, "_held_out", False)
        if begins:
            self._evidence = self._evidence.watch_after(not self.alarm_)
            self._alarms, self._held_out = Alarms([None, None]), False
        sizes = np.ones(len(samples[0]), dtype=np.int64)
        if keys is not None:
            rows, sizes = one_after_another(keys, self._evidence.groups)
            samples = [each[rows] for each in samples]
        # Log e-value, and logarithm of the restarting test's sum, at which there are alarms.
        limits = -math.log(self._rules["alpha"]), math.log(self._rules["average_run_length"] or math.inf)
        evidence, alarms = watch_on(self._evidence, self._alarms, limits, samples, sizes)
        if keys is not None:
            evidence.groups = np.union1d(evidence.groups, keys)
        self._evidence, self._alarms = evidence, alarms
        self.n_samples_ = evidence.n_samples
        for name, number in skipped.items():
            setattr(self, name, number if begins else getattr(self, name, 0) + number)
        self.trajectory_ = evidence.trajectory
        self.log_e_value_ = float(evidence.last[1])
        self.p_value_ = math.exp(-evidence.max_log_e)
        self.alarm_ = alarms.first[0] is not None
        if self._rules["average_run_length"] is not None:
            self.change_alarm_ = alarms.first[1] is not None
        self.since_ = alarms.since

    def _restore(self, learned, backbone=None):
        super()._restore(learned, backbone)
        self._watched = self._frozen_part()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

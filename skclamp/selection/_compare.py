"""compare_calibrators: calibrators side by side on a test set, as a table, a DataFrame, a figure and a page."""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from html import escape
from itertools import chain
from pathlib import Path

import numpy as np
from tabulate import tabulate

from .._report.answers import page_content
from .._report.figure import draw_comparison
from .._report.page import page_of
from .._utils.parallel import N_JOBS, in_parallel
from .._utils.parameters import check_flag, check_number, check_parameters, check_whole_number
from .._utils.progress import progress_bar
from .._utils.warnings import note, one_warning
from ..base import BaseCalibrator
from ..clamping import NeuralClampingCalibrator
from ..exceptions import CalibrationSetWarning
from ._candidates import UNCALIBRATED, covariates_of, default_calibrators, is_fitted, named
from ._parts import scores_of_parts
from ._scoring import CalibratorScores, Scoring, compare_losses
from ._shared_logits import SharedLogits

# In the short table.
_MOST_PARTS = 5


class CalibratorComparison:
    """Calibrators side by side on one test set: what `compare_calibrators` returns.

    Printed, it is a table, the lowest NLL first. "best" has it; those tied with the best, by "~", can't be told from
    it: of them take the simplest, or the fastest. The NLL and the Brier score decide; the ECE is shown beside its noise
    floor, below which differences say nothing. Of two classes it is that of the second one's probability; of several
    labels a sample, of all their probabilities. The area under the risk-coverage curve
    (AURC) tells what confidence is good for where the least confident answers aren't given.

    Parameters
    ----------
    rows : list of CalibratorScores
        Scores, in any order.
    calibrators : dict
        Fitted calibrators by name; the row "uncalibrated" has none.
    network_times : tuple of float, default=(0.0, 0.0)
        Seconds that the logits of the calibration and of the test set took.
    alpha : float, default=0.05
        Level of the tests.
    content : dict, default=None
        What a page tells of the samples, sums over them for its diagrams among it; None makes no page.
    parts : dict of list of PartScores, default=None
        Scores by part of the test set, of each calibrator, the worst part first; None where there are no parts.

    Attributes
    ----------
    rows : list of CalibratorScores
        Scores, the lowest NLL first.
    calibrators : dict
        Fitted calibrators by name, each a calibrator of the estimator that was compared; those that came fitted are
        themselves.
    parts : dict of list of PartScores
        By name of a row, its scores on each part of the test set that `by` named: `part`, `n_samples`, `nll`, `gain`
        on the uncalibrated estimator and its standard error `gain_se`, `ece`, and its `ece_floor` and
        `ece_floor_quantile`. The worst part comes first: the one whose ECE is farthest above the quantile of its floor.
        Empty without `by`.

    See Also
    --------
    compare_calibrators : Makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import TemperatureScaling, compare_calibrators
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> halves = logits[:500], y[:500], logits[500:], y[500:]
    >>> comparison = compare_calibrators(None, *halves, calibrators=[TemperatureScaling()])
    >>> [row.name for row in comparison.rows]
    ['TemperatureScaling', 'uncalibrated']
    >>> comparison["uncalibrated"].nll > comparison["TemperatureScaling"].nll
    True
    """

    def __init__(self, rows, calibrators, *, network_times=(0.0, 0.0), alpha=0.05, content=None, parts=None):
        self.rows = sorted(rows, key=lambda row: row.nll)
        self.calibrators = calibrators
        self.network_times = network_times
        self.alpha = alpha
        self.parts = parts or {}
        self._content = content
        self._about = content or {"event": -1, "areLabels": False, "nPlaces": 0, "nGroups": 0}

    def __getitem__(self, name):
        """Scores of one calibrator."""
        return {row.name: row for row in self.rows}[name]

    def __iter__(self):
        return (row.name for row in self.rows)

    def __len__(self):
        return len(self.rows)

    @property
    def best(self):
        """Name of the row with the lowest NLL."""
        return self.rows[0].name

    @property
    def tied(self):
        """Names of the rows that can't be told from the best, and of the best itself, the lowest NLL first."""
        return [row.name for row in self.rows if row.tied]

    def to_frame(self, *, parts=False):
        """The scores as a pandas DataFrame, indexed by the calibrators' names.

        Parameters
        ----------
        parts : bool, default=False
            Whether rows are of parts of the test set, indexed by calibrator and part, the worst first.

        Returns
        -------
        pandas.DataFrame
            Columns as the attributes of `CalibratorScores` or, of parts, as those in `parts`.

        Raises
        ------
        TypeError
            If `parts` isn't True or False.
        ValueError
            If there are no parts, as the comparison had no `by`.
        ImportError
            If pandas isn't installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("a DataFrame needs pandas: pip install pandas") from error
        if not check_flag(parts, "parts"):
            return pd.DataFrame([asdict(row) for row in self.rows]).set_index("name")
        if not self.parts:
            raise ValueError("parts must be False for a comparison without by; got True")
        return pd.DataFrame(self._rows_of_parts()).set_index(["name", "part"])

    def _rows_of_parts(self):
        for row in self.rows:
            for own in self.parts.get(row.name, ()):
                yield {"name": row.name, **asdict(own)}

    def summary(self):
        """Tell in words which calibrator to take and, by part, where it is worst.

        Returns
        -------
        str
            For reading; its words may change.

        Examples
        --------
        >>> import numpy as np
        >>> from skclamp import TemperatureScaling, compare_calibrators
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(scale=3.0, size=(2000, 3))
        >>> site = np.arange(2000) % 2
        >>> temperature = np.where(site, 4.0, 1.0)[:, None]
        >>> y = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1)
        >>> halves = logits[:1000], y[:1000], logits[1000:], y[1000:]
        >>> comparison = compare_calibrators(None, *halves, calibrators=[TemperatureScaling()], by=site[1000:])
        >>> print(comparison.summary())
        TemperatureScaling has the lowest NLL, 0.757. Of 2 parts 2 have an ECE above the 95 % quantile of its floor, as
        one in 20 has by chance. The worst is 0: ECE 16.2 % (floor 4.6 %), NLL 0.550. Calibration makes 1 worse by more
        than two standard errors, most of all 0: by 0.092 ± 0.018.
        """
        best = self.rows[0]
        words = f"{best.name} has the lowest NLL, {best.nll:.3f}"
        others = [name for name in self.tied if name != best.name]
        words += f"; not told from it: {', '.join(others)}." if others else "."
        parts = self.parts.get(best.name)
        if not parts:
            return words
        worst = parts[0]
        if np.isnan(worst.excess):
            return f"{words} Each part is of one group: what of its ECE is chance isn't known."
        above = sum(own.excess > 0 for own in parts)
        words += (
            f" Of {len(parts):,} parts {above:,} have an ECE above the 95 % quantile of its floor, as one in 20 has by "
            f"chance. The worst is {worst.part}: ECE {100 * worst.ece:.1f} % (floor {100 * worst.ece_floor:.1f} %), "
            f"NLL {worst.nll:.3f}."
        )
        worse = [own for own in parts if own.gain < -2 * own.gain_se]
        if worse:
            least = min(worse, key=lambda own: own.gain)
            words += (
                f" Calibration makes {len(worse):,} worse by more than two standard errors, most of all {least.part}: "
                f"by {-least.gain:.3f} ± {least.gain_se:.3f}."
            )
        return words

    def plot(self, *, axes=None):
        """Draw the differences of NLL to the best calibrator, and the ECE with its interval and noise floor.

        Parameters
        ----------
        axes : pair of matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.figure.Figure
            The axes' figure.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        """
        # Of the most probable class, or of an event.
        return draw_comparison(self.rows, axes, "ECE" if self._event is None else f"ECE of P({self._event})")

    def to_html(self, path, *, title="Calibration report", channel_names=None, samples=True):
        """Write an interactive page: one file of at most 4 MB, which loads nothing from anywhere.

        It opens with what was won: accuracy and NLL of the uncalibrated network and of the best calibrator, with
        intervals. Two calibrators' reliability diagrams stand side by side, of the most probable class or of one
        class's probability, in bins of the reader's choice. Then come the wrong answers given with most confidence, the
        worst classes, and a threshold of confidence or, of two classes, of the event's probability. Below stand risk
        over coverage or net benefit, the scores, also as CSV, and what neural clamping learned. Of more than 24
        classes, the most frequent ones have diagrams of their own, and none if the file would be too large. Of several
        labels a sample all together have a diagram, and each has; those of the largest uncalibrated NLL come first.

        The file holds sums over the test set, 20 answers at most of each calibrator with their rows and labels, and 48
        small images where the inputs are images of one or three channels and Pillow is installed, as by
        ``pip install "skclamp[plot]"``.

        Parameters
        ----------
        path : str or path-like
            Where to write; a file that is there is replaced.
        title : str, default="Calibration report"
            Heading of the page.
        channel_names : list of str, default=None
            Names of the inputs' channels (features, where X is 2-dimensional), for what neural clamping learned. None
            numbers them.
        samples : bool, default=True
            Whether the page holds single samples, those answers and images; False leaves the sums alone.

        Raises
        ------
        ValueError
            If the comparison wasn't made by `compare_calibrators`, or `channel_names` aren't as many as there are
            channels.
        TypeError
            If `samples` isn't True or False.
        """
        if self._content is None:
            raise ValueError("content must be what compare_calibrators passes, for a page; got None")
        check_flag(samples, "samples")
        Path(path).write_text(page_of(self, self._content, title, channel_names, samples), encoding="utf-8")

    def to_string(self, *, wide=False):
        """The scores as a table of text.

        Parameters
        ----------
        wide : bool, default=False
            Whether it has all the scores, by the names of `CalibratorScores`, and says what they are. Without, it has
            what decides: accuracy, NLL, the difference to the best one's with its standard error, and the ECE beside
            its noise floor. In 80 columns.

        Returns
        -------
        str
            The lowest NLL first.

        Raises
        ------
        TypeError
            If `wide` isn't True or False.
        """
        if check_flag(wide, "wide"):
            rows = [asdict(row) for row in self.rows]
            # Slope and intercept are of an event.
            rows = [
                {name: own for name, own in row.items() if any(each[name] == each[name] for each in rows)}
                for row in rows
            ]
            table = tabulate(rows, headers="keys", floatfmt=".4f")
            if self.parts:
                table += f"\n\n{tabulate(list(self._rows_of_parts()), headers='keys', floatfmt='.4f')}"
            return f"{table}\n\n{textwrap.fill(self._notes(), 120)}"
        event = "" if self._event is None else f"\nECE: of P({self._event})."
        return (
            f"{self._deciding_columns('simple')}\n"
            f"acc., ECE in %; floor: ECE if calibrated; ~: tied. More: to_string(wide=True).{event}"
            + ("" if not self.parts else f"\n\n{self._caption_of_parts()}\n{self._columns_of_parts('simple')}")
        )

    def __str__(self):
        return self.to_string()

    __repr__ = __str__

    def _repr_html_(self):
        table = f"{self._deciding_columns('html')}\n<p>{escape(self._notes(), quote=False)}</p>"
        if self.parts:
            caption = escape(self._caption_of_parts(), quote=False)
            table += f"\n<p>{caption}</p>\n{self._columns_of_parts('html')}"
        return table

    @property
    def _event(self):
        """Name of the second of two classes; None of others."""
        about = self._about
        return None if about["event"] < 0 or about["areLabels"] else about["classNames"][1]

    def _deciding_columns(self, style):
        """Return the columns that say which calibrator to take: 80 characters with the longest name."""
        rows = [
            {
                "calibrator": row.name,
                "acc.": f"{100 * row.accuracy:.1f}",
                "NLL": f"{row.nll:.3f}",
                "- best": f"{row.nll_difference:z.3f} ± {row.nll_difference_se:.3f} {'~' * row.tied}",
                "ECE (floor)": f"{100 * row.ece:.1f} ({100 * row.ece_floor:.1f})",
            }
            for row in self.rows
        ]
        rows[0]["- best"] = "best"
        return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)

    def _caption_of_parts(self):
        n_parts = len(self.parts[self.best])
        shown = f"the {_MOST_PARTS} worst of {n_parts:,} parts" if n_parts > _MOST_PARTS else "by part, the worst first"
        return f"{self.best}, {shown}; gain on uncalibrated:"

    def _columns_of_parts(self, style):
        """Return scores of the best calibrator on the worst parts, in 80 columns where names aren't long."""
        rows = [
            {
                "part": str(own.part),
                "samples": f"{own.n_samples:,}",
                "NLL": f"{own.nll:.3f}",
                "gain": f"{own.gain:z.3f} ± {own.gain_se:.3f}",
                "ECE (floor)": f"{100 * own.ece:.1f} ({100 * own.ece_floor:.1f})",
            }
            for own in self.parts[self.best][:_MOST_PARTS]
        ]
        return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)

    def _notes(self):
        calibration, test = self.network_times
        notes = (
            f"tied: not told from the best by its NLL (paired losses, Tukey's range test, {self.alpha:g}). "
            "d2: share of the NLL, or Brier score, of the test set's class frequencies that is saved. "
            "floor: ECE of perfectly calibrated probabilities like these, mean and 95 % quantile. AURC: area under the "
            "curve of risk over coverage, the mean share of errors among the most confident answers. auroc: how well "
            "confidence tells right answers from wrong ones. aece: ECE of bins of equally many samples. sce: mean ECE "
            "of the classes. Times of output "
            f"maps come on top of the network's, {calibration:.2f} s to calibrate and {test:.2f} s to test."
        )
        if self._about["areLabels"]:
            notes += (
                " Accuracy, NLL, Brier score and D² are means over labels, ECE, floor and AECE of all labels' "
                "probabilities together, SCE is the mean of each label's ECE; an answer is one of one label. Samples "
                "are what is compared and resampled."
            )
        if self._about["nPlaces"]:
            notes += (
                f" All of this is of {self._about['nPlaces']:,} places of each test sample. Samples are what is "
                "compared and resampled."
            )
        if self._about["nGroups"]:
            notes += f" Test samples are of {self._about['nGroups']:,} groups, each compared and resampled as one."
        if self._event is not None:
            notes += f" ECE, floor and AECE are of the probability of class {self._event}."
        return notes


def compare_calibrators(
    estimator,
    X_cal,
    y_cal=None,
    X_test=None,
    y_test=None,
    *,
    calibrators=None,
    params=None,
    groups=None,
    groups_test=None,
    by=None,
    n_bins=15,
    n_resamples=1000,
    n_draws=200,
    alpha=0.05,
    random_state=0,
    n_jobs=None,
    verbose="auto",
    response="auto",
    classes=None,
    cv=None,
    device=None,
    batch_size="auto",
    integer_scale=None,
    outputs="auto",
    ignore_index=-100,
):
    """Fit calibrators to one set of data, and compare them, and the uncalibrated network, on another.

    The network's logits of either set are computed once, for all calibrators but those that perturb its inputs.

    Parameters
    ----------
    estimator : torch.nn.Module, skorch.NeuralNet, scikit-learn classifier or None
        What to calibrate, as for every calibrator. None means that `X_cal` and `X_test` are logits.
    X_cal : array-like, torch.Tensor, dict, torch.utils.data.Dataset or DataLoader
        Inputs to calibrate with, none of which may have trained the network.
    y_cal : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...), default=None
        Their labels, or a class at each place, such as a pixel. Of several labels a sample that don't exclude each
        other 0, 1, or NaN where it isn't known. May be left out where `X_cal` brings them.
    X_test, y_test : as `X_cal` and `y_cal`
        What to compare on, which may not have trained the network either. `X_test` must be given:
        ``compare_calibrators(estimator, dataset, X_test=test_dataset)``.
    calibrators : list, list of (str, calibrator), or dict by name, default=None
        Calibrators that aren't fitted and have no estimator, which are cloned and fitted to `X_cal`. Those of a list,
        all of different classes, go by their classes' names. One that is fitted is compared as it is. One around an
        estimator takes `X_test`, and one of logits this estimator's. None takes those of the package that suit the
        number of classes and of samples, neural clamping among them for a torch network, unless a warning says why not.
        `CalibratorSelector`, which takes several times as long as its candidates, isn't. Of several labels a sample,
        maps of one label each are among them only if each label is 0 of 100 samples and 1 of 100 others. The covariates
        of a `CovariateScaling` are taken out of X, a table, a dict or a Dataset, for all.
    params : dict, default=None
        What the calibrators' ``fit`` is given beside X and y, such as ``sample_weight``. The test set's samples count
        alike.
    groups : array-like of shape (n_samples,), default=None
        What each sample of the calibration set belongs to, such as a patient, for the ``fit`` of calibrators.
    groups_test : array-like of shape (n_samples,), default=None
        The same of the test set: names or numbers, two at least. Samples of a group, which may depend on each other,
        are compared, resampled and counted together. So are, without it, stretches of what looks like a recording,
        which a warning tells. The ECE's floor is widened by how much more the sums of groups' residuals vary than those
        of as many independent samples. It is mostly lower than that of
        :func:`~skclamp.metrics.calibration_noise_floor`, whose groups agree as far as they can.
    by : array-like of shape (n_test_samples,), default=None
        Names or numbers of the parts that samples of the test set come from, such as sites: every calibrator is scored
        on each of them by itself, too, the worst first. Parts needn't be independent of each other, which is what
        `groups_test` are for.
    n_bins : int, default=15
        Bins of the calibration errors.
    n_resamples : int, default=1000
        Bootstrap replicates for the intervals of the ECE and the AURC.
    n_draws : int, default=200
        Draws of labels for its noise floor.
    alpha : float, default=0.05
        Of calibrators whose NLL is the best's in truth, any at all is called worse with about this probability.
    random_state : int, RandomState instance or None, default=0
        Seed of the resamples and draws, which are the same for all calibrators, and of neural clamping where
        `calibrators` is None.
    n_jobs : int, default=None
        Number of maps of the output to fit and score at a time, in threads that share the logits and divide torch's
        own, which makes the times that the table tells longer. What uses the network itself follows one by one. None
        means 1 unless in a `joblib.parallel_config` of threads, -1 all processors.
    verbose : int or "auto", default="auto"
        "auto" shows progress bars, of the network's batches and of the calibrators, after five seconds of work, where a
        terminal or a notebook listens. 0 shows nothing. 1 shows them at once, whoever listens.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What the estimator, or X without one, yields.
    classes : array-like of shape (n_classes,), default=None
        Names of the columns, where neither estimator nor labels tell.
    cv : int, cross-validation generator or iterable, default=None
        Splits for a scikit-learn classifier that isn't fitted, which is cross-fitted on the calibration set. Neural
        clamping fits it to one half of that, and learns from the other.
    device : str or torch.device, default=None
        Where a network runs.
    batch_size : "auto" or int, default="auto"
        Samples a forward pass of a network, as for every calibrator; neural clamping has its own, and a DataLoader.
    integer_scale : float or dict of str to float, default=None
        What integer inputs are multiplied by, as for every calibrator.
    outputs : {"auto", "softmax", "sigmoid"}, default="auto"
        Whether logits are one softmax of classes, or a sigmoid for each of several labels that don't exclude each
        other. "auto" follows the shape of `y_cal`.
    ignore_index : int, default=-100
        The label of a place that isn't known, where `y_cal` has a class at each place of a sample. Some 50,000 places
        of the test set are then compared, as many of each sample, which is what is resampled.

    Returns
    -------
    CalibratorComparison
        The scores, to be printed, tabulated, plotted or written as an interactive page, and the fitted calibrators.

    Raises
    ------
    ValueError, TypeError
        If a calibrator is none of this package, has an estimator of its own without being fitted, or one where `X_test`
        holds logits. If a name is taken, or any parameter or data break a rule.

    Warns
    -----
    CalibrationSetWarning
        If `X_test` holds samples of `X_cal`, in any order. If `groups` were given, and no `groups_test`. If neural
        clamping, which nobody asked for, is left out.
    TrainingDataWarning
        If a fitted estimator is more often right on `X_cal` than on `X_test`, by Fisher's exact test at 0.01 %: it
        knows `X_cal` from its training, or `X_test` is of another kind, or its classes in another order. Where each
        place has a class, the share of right places counts for as many images as there are.

    Notes
    -----
    A row is tied with the one of lowest NLL unless Tukey's range test of the paired losses tells them apart: the best
    of many is so in part by chance, and the range allows for every pair that could have been the best and the worst.
    Rows are rejected from the worst down, each among those that are left. That `alpha` bounds how often any of equal
    calibrators is called worse is proven for independent losses (Hayter, 1984), and conjectured for paired ones: at 5 %
    it was at most 6.5 % of our simulations. Samples of equal inputs count as one group. So do those of equal scores
    that are given in the inputs' place, unless their labels differ as those of independent samples do, such as of
    votes. Of several labels a sample, accuracy, NLL and Brier score are means over labels, as those of the metrics'
    ``average="macro"``, while the ECE and its floor are of the probabilities of all labels together. A sample, whose
    labels may depend on each other, is what is resampled, compared and counted. The noise floor draws labels by
    themselves, and is widened by how much more the sum of a sample's residuals varies than that of as many independent
    ones. Labels that aren't known count nowhere.

    References
    ----------
    J. W. Tukey, "The Problem of Multiple Comparisons", Princeton University 1953; A. J. Hayter, "A Proof of the
    Conjecture that the Tukey-Kramer Multiple Comparisons Procedure is Conservative", Annals of Statistics 12, 1984.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skclamp import StructuredVectorScaling, TemperatureScaling, compare_calibrators
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=600, random_state=0)
    >>> X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=600, random_state=0)
    >>> network = GaussianNB().fit(X_train, y_train)
    >>> maps = [TemperatureScaling(), StructuredVectorScaling()]
    >>> comparison = compare_calibrators(network, X_cal, y_cal, X_test, y_test, calibrators=maps)
    >>> comparison.best
    'StructuredVectorScaling'
    >>> comparison.calibrators[comparison.best].predict_proba(X_test).shape
    (597, 10)
    """
    if hasattr(estimator, "__array__") or isinstance(estimator, (list, tuple)):
        raise TypeError(
            f"estimator must be what to calibrate, or None; got {type(estimator).__name__}. Of logits write "
            "compare_calibrators(None, X_cal, y_cal, X_test, y_test)"
        )
    if X_test is None:
        raise ValueError("X_test must be set; got None. Write compare_calibrators(estimator, X_cal, X_test=X_test)")
    n_bins = check_whole_number(n_bins, "n_bins")
    n_resamples = check_whole_number(n_resamples, "n_resamples", 2)
    n_draws = check_whole_number(n_draws, "n_draws")
    alpha = check_number(alpha, "alpha", closed="neither")
    shared = {
        "response": response,
        "classes": classes,
        # Read by several fits.
        "cv": list(cv) if isinstance(cv, Iterator) else cv,
        "device": device,
        "batch_size": batch_size,
        "integer_scale": integer_scale,
        "outputs": outputs,
        "ignore_index": ignore_index,
    }
    rules = {**BaseCalibrator._parameter_constraints, "n_jobs": N_JOBS}
    check_parameters(rules, {**shared, "verbose": verbose, "n_jobs": n_jobs}, "compare_calibrators")
    unasked = calibrators is None
    chosen = None if unasked else named(calibrators)
    options = {"n_bins": n_bins, "n_resamples": n_resamples, "n_draws": n_draws, "random_state": random_state}
    with one_warning():
        params = dict(params or {})
        if groups is not None:
            params["groups"] = groups
        covariates = None if unasked else covariates_of(chosen)
        logits = SharedLogits(
            estimator, shared, X_cal, y_cal, X_test, y_test, params, groups_test, by, verbose, covariates
        )
        if unasked:
            chosen = default_calibrators(logits, random_state)
        return _compare(chosen, logits, alpha, options, n_jobs, unasked)


def _compare(calibrators, logits, alpha, options, n_jobs, unasked):
    """The comparison of calibrators by name, the uncalibrated estimator's row among them.

    Of those that were `unasked` for, such clamping is left out as the network or its inputs don't allow.
    """
    of_logits: list[str] = []
    rest: list[str] = []
    for name, calibrator in calibrators.items():
        came_fitted = is_fitted(calibrator)
        if came_fitted:
            logits.check_comparable(name, calibrator)
        # The network is one, and has torch's threads for itself.
        runs_network = came_fitted or isinstance(calibrator, NeuralClampingCalibrator)
        (rest if runs_network else of_logits).append(name)
    y_proba, seconds = logits.uncalibrated()
    scoring = Scoring(
        logits.y_test_encoded, logits.outputs, logits.classes, y_proba, logits.units, logits.parts, **options
    )

    def compared(name):
        calibrator = calibrators[name]
        bar.set_description(name)
        try:
            fit, fit_time, predicted = logits.fit(calibrator)
        except (TypeError, ValueError) as error:
            if not (unasked and isinstance(calibrator, NeuralClampingCalibrator)):
                raise
            note(f"{name} is left out of the comparison: {error}", CalibrationSetWarning)
            return name, None
        bar.set_description(f"{name}, intervals")
        return name, (fit, scoring(fit_time, *predicted))

    results = chain(in_parallel(compared, of_logits, n_jobs), map(compared, rest))
    bar = progress_bar(results, verbose=logits.verbose, total=len(calibrators), unit="calibrator")
    found = dict(bar)
    fitted = {name: found[name][0] for name in calibrators if found[name]}
    scored = {UNCALIBRATED: scoring(0.0, y_proba, seconds), **{name: found[name][1] for name in fitted}}
    scores, losses, cells, answers, of_parts = zip(*scored.values(), strict=True)
    differences = compare_losses(losses, alpha, scoring.units)
    rows = [CalibratorScores(name, **scores[k], **differences[k]) for k, name in enumerate(scored)]
    parts = {
        name: scores_of_parts(scoring.parts, errors, own, of_parts[0][1], scoring.units_of_parts)
        for name, (errors, own) in zip(scored, of_parts, strict=True)
        if scoring.parts
    }
    content = page_content(
        scoring,
        len(logits.calibration),
        dict(zip(scored, cells, strict=True)),
        dict(zip(scored, answers, strict=True)),
        logits.test_samples,
        fitted,
        # A page opens with these two.
        order=[UNCALIBRATED, *(row.name for row in sorted(rows, key=lambda row: row.nll))],
    )
    return CalibratorComparison(rows, fitted, network_times=logits.seconds, alpha=alpha, content=content, parts=parts)

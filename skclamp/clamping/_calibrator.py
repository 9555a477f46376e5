"""NeuralClampingCalibrator: a perturbation of the input and a temperature, around a frozen network."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import ClassVar

import torch
from sklearn.model_selection import BaseCrossValidator
from torch import nn

from .._utils.docstrings import with_shared_docs
from .._utils.parameters import Choices, Splits, is_splitter
from .._utils.sklearn_private import Interval
from ..perturbations._families import PERTURBATIONS
from ._base import BaseClamping
from ._splits import look_for_torn_copies, merged, tries_of
from ._state import Settings

#: The settings of the authors' toolkit. They are for inputs that are normalised already: the learning rate and the
#: perturbation are in the units of X as given, and images in [0, 1] would be moved much farther.
REFERENCE_SETTINGS = {
    "perturbation": "full",
    "gamma": 1.0,
    "loss_eps": 1e-7,
    "penalty": 0.01,
    "init": "normal",
    "init_scale": 0.001,
    "init_temperature": 1.0,
    "refit_temperature": False,
    "optimizer": partial(torch.optim.SGD, momentum=0.9),
    "lr": 0.01,
    "max_epochs": 100,
    "output": None,
    "batch_size": 1000,
    "shuffle": True,
    "validation_fraction": None,
    "precision": "float32",
}

AUTO_GAMMAS = (0.0, 0.5, 1.0, 2.0)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class NeuralClampingCalibrator(BaseClamping):
    """Neural clamping: learns a perturbation of the input and a temperature around a frozen network.

    The calibrated probabilities are ``softmax(f(perturbation(x)) / T)``; a perturbation may also act on features within
    the network. Perturbation and T minimise, on the calibration set, the mean focal loss plus `penalty` times the
    distance of the perturbation's parameters from the identity. With its defaults it picks the family of the
    perturbation, proves on held-out folds that it beats temperature scaling, and leaves the inputs as they are where it
    doesn't; a pool of output maps may take the temperature's place. `REFERENCE_SETTINGS` are the authors'.

    Parameters
    ----------
    {estimator}
    perturbation : str, torch.nn.Module or None, default="auto"
        "full" is one offset for every entry of the input (Tang, Chen and Ho, 2024), in the units of X as given;
        "channel" one offset per channel; "affine" one gain and one offset per channel; "curve" one quadratic tone curve
        per channel; "color" a matrix across channels; "filter" one small filter per channel; "grid" a coarse map of
        gains and offsets. For X of shape (n_samples, n_features), features are channels, and "full", "channel",
        "affine" and "curve" apply. "norm" leaves the inputs as they are and clamps features: one gain and one offset
        per channel after each normalisation layer of the network, batch, layer, group, instance and RMS norms alike, at
        no cost in prediction. It is the one for integers, such as tokens, to which nothing can be added. "auto" appends
        families of the inputs that the gradients ask for, one after another, to a table of many features one alone; and
        "norm" on top of them where folds say so, but not where y has a class at each place. A module that starts as the
        identity, keeps shapes and treats each sample alike is copied. None leaves the inputs as they are; with
        ``output=None`` that is temperature scaling.
    validation_fraction : float, "auto", splitter, iterable or None, default="auto"
        What the folds of the guard hold out. "auto" is two folds and, below 1,000 samples, five where these gained
        beyond their error but proved nothing. A number is the part that each holds out, at most a half: 0.5 is two
        folds, 0.2 five. The samples draw them, whatever their order and `random_state`. None trains on all the data
        without a guard. Below 100 samples the result is temperature scaling. Samples should be independent: neighbours
        in time on both sides of a split prove nothing. Where they aren't, a splitter of scikit-learn says what is held
        out, such as ``GroupKFold()``, ``KFold()``, which doesn't shuffle, or ``TimeSeriesSplit()``; or an iterable of
        (train, test) positions, which hold out each sample at most once. Equal inputs share a fold and count as one, as
        each of the `groups` of `fit` does; so do near-copies, such as frames, which are told.
    {max_views, device, random_state}

    Attributes
    ----------
    {estimator_, temperature_, perturbation_, delta_, accepted_, verdict_, unlabelled_verdict_,
    views_, view_weights_, views_verdict_, output_, module_, classes_, n_features_in_, history_, n_iter_, cost_}

    Other Parameters
    ----------------
    gamma : float or "auto", default=0.0
        Focusing parameter of the focal loss, at least 0. 0 is the NLL; more rewards entropy. "auto" takes the best of
        0, 0.5, 1 and 2 on held-out folds.
    penalty : float, default=0.0
        Lambda, the weight of the 2-norm of (parameters - identity), which isn't squared.
    {views}
    {output, verbose}
    {loss_eps, init, init_scale, init_temperature, refit_temperature, optimizer}
    lr : float or "auto", default="auto"
        Learning rate, as in skorch, of a torch optimiser; "auto" is 0.01. With "natural", the length of the first
        trial step in natural steps, which the line search doubles or halves; "auto" is 1.
    {max_epochs, shuffle, callbacks}
    {response, outputs, classes, input_key, integer_scale, ignore_index, least_probability}
    cv : int, cross-validation generator or iterable, default=None
        Splits for a classifier that isn't fitted, as in scikit-learn's ``cross_val_predict``; those of the guard are
        what `validation_fraction` says.
    {precision, batch_size}

    Raises
    ------
    ValueError
        If a parameter or the data break a rule, the network's output doesn't depend on its input, or training diverges.
    TypeError
        If the estimator is neither a network nor a classifier that can be made one, or X isn't floating-point where a
        perturbation of the inputs was asked for by name.

    See Also
    --------
    TemperatureScaling : The same without a perturbation, for any classifier.
    skclamp.modules.as_module : Which of scikit-learn's classifiers can be clamped.

    Notes
    -----
    The guide tells how the search and the guard decide.

    A natural-gradient step solves for the parameters with the second moments of the per-sample gradients (the empirical
    Fisher information) and a Gaussian prior around the identity, whose precision for each family is the one with the
    largest evidence [3]_. "auto" appends the family with the most evidence as long as that is a Bayes factor of 20; of
    several within one nat of it, the one with the fewest parameters. Above 512 parameters of one family the step is a
    ridge regression on the gradients.

    Features are clamped as ``h <- g h + b``, with h the output of a normalisation layer [9]_ [10]_. A layer takes part
    if, on a few samples, other weights have just this effect and a sample's gradients are those that it has alone;
    ``summary()`` says of others why not. Predictions take the network's layers as they are then, `module_` as they were
    in the fit. With ``gamma="auto"`` features are tried at a gamma of 0.

    The guard asks Student's test of the paired differences and universal inference [4]_, both at 2 % (1 % where
    gradients may speak too) over the number of candidates (of "auto" a quarter of it where features are clamped too,
    three quarters where inputs alone are) and, of "auto" below 1,000 samples, over two tries. The last T comes from the
    pooled held-out logits. Labels are smoothed as Platt's targets are [5]_. Of those that pass, and are within a
    standard error of the best one, "auto" keeps that of the least expected NLL once all samples teach.

    Where folds prove nothing, the gradients of all samples may [11]_, of families of the inputs with at most 512
    parameters, natural steps, gamma=0 and penalty=0, and folds drawn at random or groups. Views join greedily, with
    weights of least NLL [6]_ [7]_ [8]_, each where an inner split in two gains more than two standard errors.

    References
    ----------
    .. [1] Y.-C. Tang, P.-Y. Chen and T.-Y. Ho, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for
       Neural Network Calibration", TMLR 2024, equations 5 to 7.
    .. [2] J. Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.
    .. [3] D. MacKay, "Bayesian Interpolation", Neural Computation 1992.
    .. [4] L. Wasserman, A. Ramdas and S. Balakrishnan, "Universal Inference", PNAS 2020.
    .. [5] J. Platt, "Probabilistic Outputs for Support Vector Machines", Advances in Large Margin Classifiers 1999.
    .. [6] D. Shanmugam et al., "Better Aggregation in Test-Time Augmentation", ICCV 2021.
    .. [7] D. Molchanov et al., "Greedy Policy Search: A Simple Baseline for Learnable Test-Time Augmentation",
       UAI 2020.
    .. [8] A. Hekler, T. J. Brinker and F. Buettner, "Test Time Augmentation Meets Post-hoc Calibration: Uncertainty
       Quantification under Real-World Conditions", AAAI 2023.
    .. [9] Y. Li et al., "Revisiting Batch Normalization for Practical Domain Adaptation", ICLR workshop 2017.
    .. [10] E. Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
    .. [11] Y. Liu and J. Xie, "Cauchy Combination Test", Journal of the American Statistical Association 2020.

    Examples
    --------
    >>> import torch
    >>> from skclamp import NeuralClampingCalibrator
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> X = torch.randn(600, 20)
    >>> y = torch.multinomial((3 * network(X)).softmax(1), 1)[:, 0]
    >>> calibrator = NeuralClampingCalibrator(network, random_state=0).fit(X, y)
    >>> calibrator.predict_proba(X).shape
    (600, 3)
    """

    perturbation: str | nn.Module | None = "auto"
    gamma: float | str = 0.0
    penalty: float = 0.0
    lr: float | str = "auto"
    validation_fraction: float | str | BaseCrossValidator | Iterable | None = "auto"

    _parameter_constraints: ClassVar[dict] = {
        "perturbation": [Choices("auto", *PERTURBATIONS, "norm"), nn.Module, None],
        "gamma": [Choices("auto"), Interval(Real, 0, None, closed="left")],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "lr": [Choices("auto"), Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Choices("auto"), Interval(Real, 0, 0.5, closed="right"), Splits(), None],
    }

    def _candidates(self):
        if self.perturbation is None:
            return []
        gammas = AUTO_GAMMAS if isinstance(self.gamma, str) else [self.gamma]
        candidates = [Settings.of(self, gamma=gamma) for gamma in gammas]
        if self.perturbation == "norm":
            return [replace(settings, features=True) for settings in candidates]
        if self.perturbation == "auto":
            candidates.append(replace(candidates[0], features=True))
        return candidates

    @property
    def _inputs_stay(self):
        """Return whether features alone are clamped, and nothing looks at the inputs."""
        return self.perturbation == "norm" and self.max_views == 1

    @property
    def _guarded(self):
        """Return whether held-out samples have to prove what is kept."""
        return self.validation_fraction is not None

    @property
    def _is_auto(self):
        """Return whether nobody asked for a certain perturbation, which would be tried whatever the network knows."""
        return self._guarded and self.perturbation == "auto"

    @property
    def _draws_folds(self):
        """Return whether folds are drawn, not the user's."""
        return isinstance(self.validation_fraction, Real | str)

    def _splits_for(self, problem, candidates):
        # Folds and draws of samples without weight would say less than of as many others.
        weighted, drawn = problem.weighted(), self._draws_folds
        if drawn:
            problem = weighted = merged(weighted)
        tries = tries_of(self.validation_fraction, problem) if self._guarded or len(candidates) > 1 else []
        if not drawn:
            look_for_torn_copies(weighted, tries, "validation_fraction")
        return weighted, tries

    def _routed_to(self, groups=None):
        guard = {"guard": self.validation_fraction} if is_splitter(self.validation_fraction) else {}
        return super()._routed_to(groups) | guard

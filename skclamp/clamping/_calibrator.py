"""NeuralClampingCalibrator: a perturbation of the input and a temperature, around a frozen network."""

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from numbers import Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from torch import nn
from torch.utils.data import Dataset

from .._backbones.inputs import dataset_behind
from .._backbones.opening import is_frozen
from .._backbones.samples import fit_to_half
from .._judging.out_of_fold import LEVEL, MIN_SAMPLES
from .._judging.verdict import Decision, Objection, Reason, nothing_tried
from .._judging.words import (
    BESIDE_MAPS,
    BESIDE_VIEWS,
    TAUGHT_WITHOUT_LABELS,
    WITHOUT_LABELS,
    WITHOUT_PERTURBATION,
    WITHOUT_VIEWS,
    sentences,
    verdict_of,
)
from .._looks.words import by_part, perturbed_without
from .._pooling.candidates import tried_places
from .._pooling.pool import Pool, losses_under
from .._solvers.temperature import warn_of_bound
from .._utils.docstrings import with_shared_docs
from .._utils.outputs import SOFTMAX
from .._utils.parameters import COUNT, NOT_NEGATIVE, POSITIVE, Choices, Splits, is_splitter
from .._utils.progress import fit_task
from .._utils.sklearn_private import Interval
from .._utils.warnings import note
from ..base import BaseCalibrator
from ..base._map import OnOutputs, Temperature
from ..base._scores import FEW_PLACES
from ..base._seen_classes import SeenClasses
from ..base._tags import MapTags
from ..distributed import ALONE, current
from ..exceptions import CalibrationSetWarning
from ..modules import ClampedModule, frozen
from ..modules._last_layer import with_last_layer
from ..modules._norm_layers import with_features_clamped
from ..perturbations._families import PERTURBATIONS, additive_part, family_of
from ..perturbations._norm import changes_inputs, norm_part
from ..perturbations._views import titles_of
from ..perturbations._words import in_words, undoing
from ._clamp import Clamp, without_doubtful
from ._last_layer import with_other_last_layer
from ._learner import Learner
from ._normalisation import undone_normalisation
from ._output import judge_output, suits_pool
from ._problem import Problem
from ._progress import Progress
from ._search import fit_to_all, most_promising, propose, why_nothing_is_tried
from ._splits import look_for_torn_copies, merged, splits_of
from ._state import Settings
from ._torch_training import TorchTraining
from ._unlabelled import joined, learn_unlabelled, open_unlabelled
from ._views import candidate_views, join_views

logger = logging.getLogger("skclamp")

# Stages that are judged, and where the verdict is.
_VERDICTS = {"unlabelled samples": "unlabelled_verdict_", "perturbation": "verdict_", "views": "views_verdict_"}
# What `cost_` calls passes over inputs without labels.
_BESIDE = {"unlabelled_forward": "X_unlabelled", "reference_forward": "X_reference"}

#: The settings of the authors' toolkit. They are for inputs that are normalised already: the learning rate and the
#: perturbation are in the units of X as given, and images in [0, 1] would be moved much farther.
REFERENCE_SETTINGS = {
    "perturbation": "full",
    "output": None,
    "validation_fraction": None,
    "gamma": 1.0,
    "lr": 0.01,
    "max_epochs": 100,
    "penalty": 0.01,
    "training": TorchTraining(
        optimizer=partial(torch.optim.SGD, momentum=0.9),
        init="normal",
        init_scale=0.001,
        init_temperature=1.0,
        refit_temperature=False,
        loss_eps=1e-7,
    ),
    "batch_size": 1000,
}


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class NeuralClampingCalibrator(BaseCalibrator):
    """Neural clamping: learns a perturbation of the input and a temperature around a frozen network.

    The calibrated probabilities are ``softmax(f(perturbation(x)) / T)``. A perturbation may also act on features within
    the network, and its last linear layer may have other weights. Perturbation and T minimise, on the calibration set,
    the mean focal loss plus `penalty` times the distance of the perturbation's parameters from the identity. With its
    defaults it picks the family of the perturbation. It keeps it where held-out folds prove that it beats temperature
    scaling, and else leaves the inputs as they are. A pool of output maps may take the temperature's place.
    `REFERENCE_SETTINGS` are the authors'.

    Parameters
    ----------
    estimator : torch.nn.Module, skorch.NeuralNet or scikit-learn classifier, default=None
        The trained network, or an initialised skorch net: it is shared, never changed. Of scikit-learn's fitted
        classifiers those that `skclamp.modules.as_module` makes a network of, in float64, most linear ones and
        MLPClassifier. Pipelines of the transformers that it knows count too, if they end in one or in a skorch net. Of
        one that isn't fitted a clone is fitted to one half of the data, and clamped on the other half. `random_state`
        draws them, stratified by class. Equal inputs and `groups` stay whole. Maps such as `TemperatureScaling`
        cross-fit it, and leave no sample out. It must be given for `fit`: logits without their network are what
        `VectorScaling` calibrates.
    perturbation : str, torch.nn.Module or None, default="auto"
        "full" is one offset for every entry of the input (Tang, Chen and Ho, 2024), in the units of X as given;
        "channel" one offset per channel; "affine" one gain and one offset per channel; "curve" one quadratic tone curve
        per channel; "color" a matrix across channels; "filter" one small filter per channel; "grid" a coarse map of
        gains and offsets. For X of shape (n_samples, n_features), features are channels, and "full", "channel",
        "affine" and "curve" apply. "norm" leaves the inputs as they are and clamps features. It is one gain and one
        offset per channel after each normalisation layer, be it a batch, layer, group, instance or RMS norm, at no cost
        in prediction. It is the one for integers, such as tokens, to which nothing can be added. "auto" appends
        families of the inputs that the gradients ask for, one after another, to a table of many features one alone. And
        "norm" on top of them where folds say so, but not where y has a class at each place. A module that starts as the
        identity, keeps shapes and treats each sample alike is copied. None leaves the inputs as they are; with
        ``output=None`` that is temperature scaling.
    max_views : int or list of torch.nn.Module, default=1
        Forward passes that a prediction may cost. From 2 on, logits of several views of the perturbed input are
        averaged with weights of least NLL. They are kept only where held-out samples, at least 100, prove that they
        beat one pass. See the notes. Images have for views a flip and shifts by a pixel of 32, with and without the
        flip; sequences shifts in time; tables none. The axes are taken for (channels, height, width) and (channels,
        time). A list holds other views to choose from, and any of them may join the input as it is. There may be one
        pass more than views. They must keep shapes, treat each sample alike, and learn nothing, and are copied. Of a
        class at each place, logits of views that move places are moved back, by the view's method ``moved_back(logits,
        x)``.
    output : {"auto", "pool"}, BaseCalibrator or None, default="auto"
        What maps the logits of the perturbed inputs at the end; whether a perturbation is kept is judged with a
        temperature alone. "pool" is the temperature and other maps, each at the weight that it earns on samples that it
        wasn't fitted to, as `CalibratorSelector` does. With "auto" other weights of the network's last layer may take
        their place, see the notes. Both take out-of-fold logits: without a guard, below 100 samples that have one class
        each, on a recording, or with a T that isn't refitted, they are the temperature. So they are of more than 200
        classes, or 1e8 samples times squared classes. A map such as ``StructuredMatrixScaling()`` takes the
        temperature's place where its NLL on held-out samples is no higher. Else it is left out with a warning. Without
        a guard it isn't judged. Nor is a map with ``label_noise``, since labels may be wrong. None is the temperature.
    validation_fraction : float, "auto", splitter, iterable or None, default="auto"
        What the folds of the guard hold out. "auto" is two folds. A number is the part that each holds out, at most a
        half: 0.5 is two folds, 0.2 five. The samples draw them, whatever their order and `random_state`. None trains on
        all the data without a guard. How many samples prove something follows from how much they gain; of fewer than 8
        nothing is tried, and the result is temperature scaling. Samples should be independent: neighbours in time on
        both sides of a split prove nothing. Where they aren't, a splitter of scikit-learn says what is held out, such
        as ``GroupKFold()``, ``KFold()``, which doesn't shuffle, or ``TimeSeriesSplit()``. An iterable of (train, test)
        positions does too, if it holds out each sample at most once. Equal inputs share a fold and count as one, as
        each of the `groups` of `fit` does. So do near-copies, such as frames, which are told.

    Attributes
    ----------
    estimator_ : scikit-learn classifier
        The clone fitted to one half of the data; only where `estimator` isn't fitted.
    temperature_ : float
        T.
    perturbation_ : torch.nn.Module
        The fitted input transform; without parameters where none was kept. Where features are clamped it is a
        torch.nn.Sequential whose last part, a `NormPerturbation`, has the gains and offsets of the network's layers.
    delta_ : ndarray of one input's shape
        What is added to every input; only where the perturbation does nothing else ("full", "channel", or none).
    accepted_ : bool
        Whether a perturbation was kept. What "auto" found has to beat temperature scaling beyond chance, and with
        `output` the held-out NLL of `output` alone.
    verdict_ : Verdict
        What the guard found. It is set only where one was asked for. ``accepted`` : bool, which is False below 8
        samples. ``reason`` : str. ``difference`` : float, of held-out NLL to temperature scaling, in nats, of the whole
        procedure, since each fold chooses by itself. ``standard_error`` and ``p_value`` : float, of it. ``tried`` :
        dict, from each family that a fold fitted to its own difference. ``not_tried`` : dict, from each other family to
        the reason. ``n_samples`` : int, held out, each once. ``detectable_gain`` : float or None, the gain of NLL per
        sample that half of such sets of samples would have shown. ``folds`` : list of dict, what each fold learned.
    {parts_}
    unlabelled_verdict_ : Verdict
        What labelled samples found of what `X_unlabelled` taught, against temperature scaling; only where it was given.
        Its names are "moments", "moments, spectrum", "features", and joined ones. `verdict_` speaks of gains on top.
    views_ : list of torch.nn.Module
        The views that a prediction takes; a single ``Identity`` where there are no others.
    view_weights_ : ndarray of shape (n_views,)
        Their weights, which sum to 1.
    views_verdict_ : Verdict
        What the guard found of the views, against the single one of what was kept before. It is set only where
        `max_views` allows several passes and a guard was asked for. Its names are those of views.
    output_ : BaseCalibrator
        The fitted pool, or the fitted clone of the `output` that was given; only where one takes the temperature's
        place.
    last_layer_ : LastLayer
        ``name`` of the network's last linear layer, and the arrays that are added to its ``weight`` and ``bias``. Only
        where other weights of it were kept.
    module_ : ClampedModule
        Perturbation, network and temperature or `output_`, as one torch module that yields calibrated logits. It shares
        the network, its weights and its flags: call ``module_.eval()`` before use. Where features are clamped, or the
        last layer has other weights, it has a copy, which shares all but the weights of these layers. A network of
        several inputs by name takes ``module_(**inputs)``. ONNX lacks what a map with steps or knots needs.
    classes_ : ndarray of shape (n_classes,)
        Names of the columns.
    n_features_in_ : int
        ``X.shape[1]``; not set where X has more than two dimensions, or is a Dataset.
    history_ : skorch.history.History
        Of the final training: one row per epoch. The "train_loss" of a natural step is that before it.
    n_iter_ : int
        Epochs of the final training; 0 where the mean of folds is kept.
    cost_ : dict
        Passes "forward" and "backward": how often each sample went through the network during `fit`, on average. With
        `X_unlabelled` also "unlabelled_forward" and "reference_forward", of its inputs and those of `X_reference`.

    Other Parameters
    ----------------
    gamma : float or "auto", default=0.0
        Focusing parameter of the focal loss, at least 0. 0 is the NLL; more rewards entropy. "auto" takes the best of
        0, 0.5, 1 and 2 on held-out folds.
    lr : float or "auto", default="auto"
        Learning rate, as in skorch, of a torch optimiser; "auto" is 0.01. With "natural", the length of the first
        trial step in natural steps, which the line search doubles or halves; "auto" is 1.
    max_epochs : int, default=10
        Passes of training over the data: as many with a torch optimiser, unless a callback ends them, and at the most
        so many natural-gradient steps, 5 of them for features and 4 from the mean of halves. Where each fold learned
        many parameters from more than half of the samples, the mean is kept as it is. Natural-gradient training
        stops by itself when the gradients are no larger than chance makes them. Ctrl-C in the last training, after the
        guard's, keeps the best epoch with a warning; before that, it ends the fit.
    penalty : float, default=0.0
        Lambda, the weight of the 2-norm of (parameters - identity), which isn't squared.
    training : {"auto", "natural"} or TorchTraining, default="auto"
        "natural" takes full-batch natural-gradient steps with a line search, from the identity and the optimal T.
        "auto" is "natural" up to 512 parameters of the perturbation, and beyond where `penalty` is 0, parameters times
        samples are at most 2**27, and one of the two at most 5,000. Else ``TorchTraining()``, which is Adam. A
        `TorchTraining` is an optimiser of torch in skorch's loop, with its start and its callbacks; the calibrator
        never changes it. The perturbations "auto" and "norm" take natural steps alone. Unless a `TorchTraining` says
        otherwise, T is solved for exactly at the end: for the NLL, the perturbation held. Of logits out of fold where
        folds judged it. There, and where natural steps learned without a guard, labels are smoothed to 1 - 1 /
        (n_samples + 2). So a few flawless samples promise no certainty.
    device : str or torch.device, default=None
        Where to compute. None is where the network is, and shares its weights; elsewhere a copy is used.
    batch_size : "auto" or int, default="auto"
        Samples per forward pass, and per step of a torch optimiser; of a DataLoader its own batch size counts. "auto"
        is 64; on a CPU a forward pass, not a step, takes fewer of large samples, see `skclamp.TemperatureScaling`.
    integer_scale : float or dict of str to float, default=None
        What integer inputs are multiplied by, such as 1 / 255 for images of bytes, batch by batch on the device. Where
        X is a dict, the scales of the entries that have one. The perturbation, and `module_`, take the products.
    input_key : str, default=None
        The entry of X that is perturbed, where X is a dict or a Dataset of dicts, such as "pixel_values" or
        "inputs_embeds". None is the only one. The others go with each sample unchanged. An array X goes to the network
        under this name.
    classes : array-like of shape (n_classes,), default=None
        Names of the columns. Needed unless the labels are 0 ... K-1, the estimator has ``classes_``, or there are
        exactly K distinct labels.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What the network yields. "auto" follows what is known: logits of a module. Of a skorch net what its criterion
        and nonlinearity say. Of a classifier its decision function, if it has one.
    {outputs}
    {ignore_index}
    random_state : int, RandomState instance or None, default=None
        Of noise, the order of samples, those that steps are tried on, the parts that choose views, and the half that an
        estimator is fitted to. None draws anew each time. What your own code draws, such as an augmenting Dataset,
        comes from the global states, as in loops of torch.
    verbose : int or "auto", default="auto"
        At 1, a progress bar of all the training: epochs, loss, T, and the held-out NLL. "auto" shows it after five
        seconds, where a terminal or a notebook listens; 0 shows nothing. At 2, a line for each fold, for what
        the guard decides, and for each epoch of the final training.

    Raises
    ------
    ValueError
        If a parameter or the data break a rule, the network's output doesn't depend on its input, or training diverges.
    TypeError
        If the estimator is neither a network nor a classifier that can be made one, or X isn't floating-point where a
        perturbation of the inputs was asked for by name.

    See Also
    --------
    TorchTraining : How a torch optimiser trains.
    TemperatureScaling : The same without a perturbation, for any classifier.
    skclamp.modules.as_module : Which of scikit-learn's classifiers can be clamped.

    Notes
    -----
    The guide tells how the search and the guard decide.

    A natural-gradient step solves for the parameters with the second moments of the per-sample gradients (the empirical
    Fisher information) and a Gaussian prior around the identity, whose precision for each family is the one with the
    largest evidence [3]_. "auto" appends the family with the most evidence as long as that is a Bayes factor of 20. Of
    several within one nat of it, the one with the fewest parameters. Above 512 parameters of one family the step is a
    ridge regression on the gradients.

    Features are clamped as ``h <- g h + b``, with h the output of a normalisation layer [9]_ [10]_. A layer takes part
    if, on a few samples, other weights have just this effect and a sample's gradients are those that it has alone.
    ``summary()`` says of others why not. Predictions take the network's layers as they are then, `module_` as they were
    in the fit. With ``gamma="auto"`` features are tried at a gamma of 0.

    The guard asks Student's test of the paired differences and universal inference [4]_, both at 2 % (1 % where
    gradients may speak too) over the number of candidates. The last T comes from the pooled held-out logits. Labels are
    smoothed as Platt's targets are [5]_. Of those that pass "auto" keeps that of the least held-out NLL.

    Of a network that ends in a linear layer, features and labels teach what is added to that layer's weights. The
    Gaussian prior around 0 has three widths: a logit changes by 2, 4 or 8 nats. Each width is fitted without each of
    five folds, and weighs what it earns on that fold, as a map does. The sum takes the maps' place where its NLL out of
    fold is lower, behind a perturbation too. If it is lower by half a standard error, it takes the place of one that
    nobody named. ``output="pool"`` leaves the layer as it is. It is left, too, without a bias, or where a network
    branches on its inputs or ends in anything else, such as a convolution or probabilities. It is left of several
    labels, a class at each place, or a single logit. It is left where views or `X_unlabelled` were kept, or a class
    lacks samples beyond chance. At most 1e8 samples times classes times features are tried. It takes a pass or two.

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
    training: str | TorchTraining = "auto"
    max_epochs: int = 10
    output: str | BaseCalibrator | None = "auto"
    random_state: int | np.random.RandomState | None = None
    input_key: str | None = None
    max_views: int | Sequence[nn.Module] = 1
    # No parameter: one half fits an estimator that isn't fitted.
    cv: ClassVar[None] = None  # type: ignore[misc]

    _parameter_constraints: ClassVar[dict] = {
        "perturbation": [Choices("auto", *PERTURBATIONS, "norm"), nn.Module, None],
        "gamma": [Choices("auto"), NOT_NEGATIVE],
        "penalty": [NOT_NEGATIVE],
        "lr": [Choices("auto"), POSITIVE],
        "validation_fraction": [Choices("auto"), Interval(Real, 0, 0.5, closed="right"), Splits(), None],
        "training": [Choices("auto", "natural"), TorchTraining],
        "max_epochs": [COUNT],
        "output": [Choices("auto", "pool"), BaseCalibrator, None],
        "input_key": [str, None],
        "random_state": ["random_state"],
        "max_views": [COUNT, list, tuple],
    }

    _not_saved: ClassVar[frozenset] = BaseCalibrator._not_saved | {"module_", "delta_", "history_"}

    @property
    def _tags(self):
        fitted = hasattr(self, "output_")
        alike = self.output_._tags.treats_classes_alike if fitted else self._refits_temperature or not self.gamma
        return MapTags(
            reads_again=True,
            n_free=1,
            # Splits of the user's are for what isn't independent.
            needs_independence=self._draws_folds and "proof",
            held_out="in the folds that chose it" if fitted else "out of fold",
            treats_classes_alike=alike,
            mend_by_class="A temperature can't mend it: {name} with output=StructuredVectorScaling() can",
            group="neural clamping",
        )

    def _opening(self):
        return super()._opening()._replace(input_key=self.input_key, perturbs=True, inputs_stay=self._inputs_stay)

    def _validate_params(self):
        super()._validate_params()
        if not isinstance(self.training, str):
            self.training._validate_params()
            if self.perturbation in ("auto", "norm"):
                raise ValueError(
                    f"training must be 'auto' or 'natural' where perturbation is {self.perturbation!r}, since an "
                    "optimiser of torch can't append families, nor clamp features; got "
                    f"{self.training!r}. Name a family of inputs"
                )
        views = self.max_views if isinstance(self.max_views, Sequence) else []
        if self.max_views == [] or not all(isinstance(view, nn.Module) for view in views):
            raise ValueError(f"max_views must be a number, or a list of views, torch modules; got {self.max_views!r}")
        by_name = self._output_by_name
        if by_name is not None and (by_name.estimator is not None or by_name.classes is not None):
            raise ValueError(
                "output must have estimator=None and classes=None, since it takes the logits of the perturbed inputs; "
                f"got {self.output!r}"
            )

    @property
    def _solved_temperature(self):
        # A few steps of training may leave T where it began.
        return self.temperature_ if self._refits_temperature else None

    @property
    def _refits_temperature(self):
        # Natural steps leave T at the optimum of the few samples that they were tried on.
        # Tags are asked before parameters are checked.
        return not isinstance(self.training, TorchTraining) or self.training.refit_temperature

    def set_params(self, **params):
        """Set parameters of this calibrator.

        Parameters
        ----------
        **params : dict
            New values by name; ``training__name`` sets one of a copy of the `TorchTraining`, which others may share.

        Returns
        -------
        self : object
            The calibrator itself.

        Raises
        ------
        ValueError
            If a name is unknown, or reaches into a frozen estimator.
        """
        nested = [name for name in params if name.startswith("training__")]
        if nested:
            training = params.get("training", self.training)
            if not isinstance(training, TorchTraining):
                raise ValueError(f"training must be a TorchTraining where {nested[0]} is set; got {training!r}")
            params["training"] = copy.copy(training)
        return super().set_params(**params)

    def _check_alike(self, ranks, sample_weight, params):
        alike = copy.copy(self)
        if not isinstance(self.training, str):
            # Each rank has callbacks of its own.
            alike.training = copy.copy(self.training).set_params(callbacks=None)
        super(NeuralClampingCalibrator, alike)._check_alike(ranks, sample_weight, params)

    def fit(
        self, X, y=None, sample_weight=None, groups=None, *, X_unlabelled=None, X_reference=None, by=None, **params
    ):
        """Learn the perturbation and the temperature on held-out data; the network stays as it is.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            Inputs of the network, first axis the samples, as `TemperatureScaling.fit` takes them; no stream.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, which count as repetitions.
        groups : array-like of shape (n_samples,), default=None
            For samples that depend on each other, such as frames of a video: a name or number for each of what it
            belongs to. The guard's folds keep groups together, whatever draws them, and each counts as one sample in
            its tests: below 8 groups random folds keep nothing. A splitter that is given should go by them, such as
            ``GroupKFold()``.
        X_unlabelled : array-like, torch.Tensor, dict, Dataset or DataLoader, default=None
            More inputs of the new camera, which nobody has labelled; their order and any labels are ignored. What
            brings back the statistics of the inputs, and of the network's features, is learned from them in closed
            form. It is kept only where the labelled samples prove that it helps, at least 100 of them. The search then
            starts there and, where features were moved, also without that, and keeps what promises the lower NLL.
        X_reference : array-like, torch.Tensor, dict, Dataset, DataLoader or ReferenceSummary, default=None
            Inputs of the old camera, or what `skclamp.reference_summary` made of them. Without it only batch norm's
            own statistics tell what was.
        by : array-like of shape (n_samples,), default=None
            Names of the parts that samples come from, such as scanners, sites or cameras. What is learned stays the
            same. `parts_`, `verdict_` and a warning tell which part would do better with a calibrator of its own. Parts
            needn't be independent of each other, which is what `groups` are for.
        **params : dict
            What `TemperatureScaling.fit` takes.

        Returns
        -------
        self : object
            The fitted calibrator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, X or y breaks a rule; the message says which. An earlier fit is then kept.

        Warns
        -----
        CalibrationWarning
            Of its kinds, see `skclamp.exceptions`.
        """
        if X_unlabelled is None and X_reference is not None:
            raise ValueError("X_reference must be left out without X_unlabelled, which it is compared with")
        if X_unlabelled is not None:
            # Something has to judge what unlabelled inputs teach.
            if y is None and not isinstance(dataset_behind(X), Dataset):
                raise ValueError(
                    "y must hold labels beside X_unlabelled: a hundred of them decide whether what the unlabelled "
                    "inputs teach helps; nothing is adapted without such a proof. Got None"
                )
            if not self._guarded:
                raise ValueError(
                    "validation_fraction must not be None with X_unlabelled, since labels are to judge what it teaches"
                )
            if current() is not ALONE:
                raise ValueError("X_unlabelled must be None where samples are sharded")
        with fit_task(self, X, y, sample_weight):
            told = {"groups": groups, "by": by, **params}
            return self._learn(X, y, sample_weight, told, beside=(X_unlabelled, X_reference))

    def _drawn(self):
        """The random state; None leaves numpy's global one alone."""
        return np.random.RandomState() if self.random_state is None else check_random_state(self.random_state)

    def _fit_estimator(self, X, y, sample_weight, metadata, names):
        return fit_to_half(self.estimator, self._opening(), X, y, sample_weight, metadata, names, self._drawn())

    def _fit(self, samples, looked, X_unlabelled=None, X_reference=None):
        ranks = samples.shard.ranks
        seed = ranks.all_gather_object(int(self._drawn().randint(2**31)))[0]
        learner = Learner(
            torch.Generator().manual_seed(seed), Progress(0 if ranks.rank else self.verbose, self.max_epochs)
        )
        with frozen(samples.backbone.module), learner.progress:
            problem = Problem.of(samples)
            if ranks is not ALONE:
                # A DataLoader may have another batch size than the parameter.
                ranks.check_alike(shape_of_an_input=problem.input_shape, batch_size=problem.inputs.batch_size)
            if self.gamma and self._outputs != SOFTMAX:
                raise ValueError(f"gamma must be 0 where y has several labels or places a sample; got {self.gamma!r}")
            n_observed, seen = self._classes_with_samples(problem)
            problem = replace(problem, observed=seen if self._guarded else None)
            clamp, decisions = self._clamped(problem, learner, X_unlabelled, X_reference, looked, n_observed)
            if self._guarded:
                unasked = self._is_auto and self._output_by_name is None
                clamp, decisions = without_doubtful(
                    clamp, decisions, self._conclude, learner.generator, unasked=unasked
                )
            else:
                clamp = self._conclude(clamp)
            if self._tries_last_layer(clamp):
                learner.progress.begin("last layer")
                clamp, decisions = with_other_last_layer(
                    clamp, decisions, self._splits_of_maps(clamp), unasked=self._is_auto
                )
            state = clamp.state
            looks = self._guarded and state.identity and clamp.taught is None and ranks is ALONE
            self._undoes = undone_normalisation(problem.weighted(), state.perturbation) if looks else None
            if self._undoes is not None:
                note(undoing(self._undoes), CalibrationSetWarning, explains=True)
            if clamp.taught is not None:
                perturbation = joined(clamp.taught, state.perturbation)
                state = replace(state, perturbation=perturbation, identity=list(clamp.taught.parameters()))
            if state.identity and seen is not None:
                note(perturbed_without(seen, self._guarded), CalibrationSetWarning)
            if clamp.output is not None:
                self.output_ = clamp.output
            if clamp.last_layer is not None:
                self.last_layer_ = clamp.last_layer
            self._tell(clamp, decisions, learner.progress)
            self.views_ = clamp.views
            self.view_weights_ = clamp.shares
            self.temperature_ = clamp.temperature
            self.perturbation_ = state.perturbation
            self._input_shape = problem.input_shape
            self._input_key = samples.deployed.module.input_key
            self._set_derived(samples.deployed.module)
            self.accepted_ = bool(state.identity)
            self.cost_ = problem.cost()
            self.history_ = state.history
            self.n_iter_ = len(state.history)
            held_out = clamp.loss
            judging = clamp.judging
            if held_out is None and clamp.stage != "views":
                held_out = clamp.held_out_loss(bool(clamp.state.identity))
            rows, raw = (judging.rows(logits, FEW_PLACES) for logits in (clamp.logits, judging.raw))
            if judging.parts is not None:
                self._judge_clamped_parts(clamp)
            return rows, raw.logits, held_out and held_out / judging.rows_a_sample

    def _judge_clamped_parts(self, clamp):
        """Tell what the clamp costs the parts of the samples, in the verdict where there is one."""
        judging, losses = clamp.tried or (clamp.judging, None)
        if losses is None:
            rows = judging.rows(clamp.logits, tried_places(len(judging)))
            losses = losses_under(clamp.output, clamp.temperature, rows)
        held_out = clamp.tried is not None or clamp.scales is not None
        raw = judging.rows(judging.raw, tried_places(len(judging)))
        self._judge_parts(judging.parts, raw, losses, held_out)
        if verdict := self._verdicts().get("perturbation"):
            self.verdict_ = replace(verdict, reason=f"{verdict.reason} {by_part(self.parts_)}")

    def _clamped(self, problem, learner, X_unlabelled, X_reference, looked, n_observed):
        """The `Clamp` that folds allow, and the `Decision` of each stage by its name: the chain of stages."""
        why = why_nothing_is_tried(problem, looked, n_observed, guarded=self._guarded, unasked=self._is_auto)
        candidates = self._candidates(problem)
        most_views = self._most_views
        views = candidate_views(self.max_views, problem) if most_views > 1 else {}
        # All that labels judge share the guard's level.
        level = LEVEL / max(1, (X_unlabelled is not None) + bool(candidates) + bool(views))
        clamp = Clamp.identity(problem, *self._splits_for(problem, candidates))
        decisions: dict[str, Decision | None] = {}
        starts = [(clamp, None)]
        if X_unlabelled is not None:
            problem.passes.beside = dict.fromkeys(_BESIDE, 0.0)
            starts = [(clamp, nothing_tried(Objection(why)))] if why else []
            if why in (None, Reason.GUESSES, Reason.RECORDING):
                learner.progress.begin("unlabelled samples")
                given = {"X_unlabelled": X_unlabelled, "X_reference": X_reference}
                starts = learn_unlabelled(
                    clamp,
                    *[open_unlabelled(name, X, problem) for name, X in given.items()],
                    level=level,
                    of_inputs=problem.has_floating_inputs and not self._inputs_stay,
                    learns_features=any(settings.features for settings in candidates),
                    generator=learner.generator,
                )
                # What they taught may have the network do better.
                why = None if why is Reason.GUESSES and starts[0][0].taught is not None else why
            decisions["unlabelled samples"] = starts[0][1]
        clamp = starts[0][0]
        if why is not None:
            decisions["perturbation"] = nothing_tried(Objection(why))
            # Views were asked for, and stretches of a recording judge what was.
            if why is not Reason.RECORDING or not views:
                if most_views > 1:
                    decisions["views"] = decisions["perturbation"]
                return replace(clamp, splits=[]), decisions
            candidates = []
        if candidates or views:
            proposals = []
            drawn = learner.generator.get_state()
            asked = {"guarded": self._guarded, "draws_folds": self._draws_folds, "perturbation": self.perturbation}
            for start, _ in starts:
                # The same draws for both.
                learner.generator.set_state(drawn)
                proposals.append(propose(start, candidates, learner, level / len(starts), **asked))
            best = most_promising(proposals)
            clamp, decision, settings = proposals[best]
            if starts[best][1] is not None:
                decisions["unlabelled samples"] = starts[best][1]
            decisions.setdefault("perturbation", decision)
            if settings is not None and (decision is None or decision.verdict.accepted):
                clamp = fit_to_all(clamp, settings, learner, guarded=self._guarded)
        if most_views > 1:
            learner.progress.begin("views")
            seed = torch.randint(2**31, (), generator=learner.generator).item()
            known = not isinstance(self.max_views, Sequence)
            clamp, decisions["views"] = join_views(
                clamp, views, most_views, level, seed, guarded=self._guarded, by_default=known
            )
        return clamp, decisions

    def _classes_with_samples(self, problem):
        """How many classes have samples, and a mask of them; None where it may be chance that others have none."""
        if self._outputs.n_labels is not None:
            return None, None
        rows = problem.rows(problem.logits)
        seen = SeenClasses.of(rows)
        if seen is None:
            return None, None
        return len(seen.columns), None if seen.are_missing_by_chance(rows) else seen.mask

    @property
    def _most_views(self):
        """Passes that a prediction may cost."""
        return 1 + len(self.max_views) if isinstance(self.max_views, Sequence) else self.max_views

    @property
    def _output_by_name(self):
        """The map that was asked for by name, if there is one."""
        return None if isinstance(self.output, str) else self.output

    @property
    def _unjudged(self):
        # A perturbation has to prove itself on held-out samples or, without a guard, is held by training that ends.
        return self if self._guarded or self._output_by_name is None else getattr(self, "output_", self.output)

    def _tell(self, clamp, decisions, progress):
        """Set, log and show the verdicts, where a guard decided."""
        n_observed = 0 if clamp.samples.observed is None else int(clamp.samples.observed.sum())
        # Without a perturbation, but with views, this isn't temperature scaling.
        phrases = WITHOUT_PERTURBATION if clamp.output is clamp.last_layer is None else BESIDE_MAPS
        phrases = BESIDE_VIEWS if clamp.stage == "views" else phrases
        phrases = phrases if clamp.taught is None else TAUGHT_WITHOUT_LABELS
        phrases_of = {
            "unlabelled samples": WITHOUT_LABELS._replace(n_observed=n_observed),
            "perturbation": phrases._replace(n_observed=n_observed),
            "views": WITHOUT_VIEWS,
        }
        for stage, decision in decisions.items():
            if decision is not None:
                setattr(self, _VERDICTS[stage], verdict_of(decision, phrases_of[stage]))
        for verdict in self._verdicts().values():
            logger.info("%s", verdict.reason)
            progress.write(verdict.reason)

    def _verdicts(self):
        """Verdicts by stage."""
        return {stage: getattr(self, name) for stage, name in _VERDICTS.items() if hasattr(self, name)}

    def _conclude(self, clamp):
        """The clamp with its last T and, where one is kept, a map in the temperature's place."""
        samples = clamp.judging
        logits = clamp.logits
        moved = bool(clamp.state.identity)
        joins_views = clamp.stage == "views"
        if moved and not (self._refits_temperature or joins_views):
            clamp = replace(clamp, temperature=clamp.state.temperature)
        else:
            # So few parameters, driven so far, may separate the samples, which then promise certainty.
            driven = moved and (self._guarded or (clamp.state.natural and clamp.state.perturbs))
            gamma = 0.0 if self._refits_temperature or isinstance(self.gamma, str) else self.gamma
            solution = samples.solve(logits, gamma=gamma, smooth=joins_views or driven, prior=not joins_views)
            warn_of_bound(solution)
            clamp = replace(clamp, temperature=solution.temperature)
        asked = self._output_by_name
        if asked is not None and not self._guarded:
            return replace(clamp, output=asked._fitted_to(samples.rows(logits), samples.outputs))
        if asked is None:
            is_dense = self._outputs.is_dense
            n_rows = len(samples.rows(logits, tried_places(len(samples))).y) if is_dense else len(samples)
            pools = self.output is not None and self._guarded and clamp.splits and self._refits_temperature
            # Whole parts of a recording are of that recording.
            pools = pools and not samples.is_recording
            searched = clamp.searched
            n_proving = searched.n_distinct if self._draws_folds else searched.n_weighted
            # The places of a few samples teach the maps enough.
            pools = pools and (is_dense or n_proving >= MIN_SAMPLES)
            if not (pools and suits_pool(n_rows, logits.shape[1])):
                return clamp
        if not (moved or joins_views):
            samples = clamp.held_out
            logits = samples.logits
        output, loss, losses = judge_output(
            asked, samples, logits, clamp.temperature, self._splits_of_maps(clamp), self.verbose
        )
        return replace(clamp, output=output, loss=loss, tried=None if losses is None else (samples, losses))

    def _tries_last_layer(self, clamp):
        """Return whether the last layer may have other weights: maps were judged unasked, of one pass."""
        asked = isinstance(self.output, str) and self.output == "auto" and self._outputs == SOFTMAX
        return asked and clamp.loss is not None and clamp.stage != "views" and clamp.taught is None

    def _splits_of_maps(self, clamp):
        """The user's splits; without them folds of maps, of which a few more are cheap, are drawn."""
        return () if self._draws_folds else clamp.splits

    def _set_derived(self, network):
        delta = additive_part(self.perturbation_, self._input_shape)
        if delta is not None:
            self.delta_ = delta.detach().cpu().numpy()
        output = OnOutputs.around(self.map_, self._outputs) if hasattr(self, "output_") else None
        views = {"views": self.views_, "view_weights": self.view_weights_} if self._has_views else {}
        if hasattr(self, "last_layer_"):
            network = with_last_layer(network, self.last_layer_)
        self.module_ = ClampedModule(network, self.perturbation_, temperature=self.temperature_, output=output, **views)

    @property
    def _has_views(self):
        """Return whether the network sees anything else than the inputs as the perturbation leaves them."""
        return [type(view) for view in self.views_] != [nn.Identity]

    def _restore(self, learned, backbone=None):
        super()._restore(learned, backbone)
        for module in (self.perturbation_, *self.views_):
            module.to(self._backbone.device)
        self._backbone.module.input_key = self._input_key
        self._set_derived(self._backbone.module)

    def _logits(self, X, labelled):
        backbone = copy.copy(self._backbone)
        norm = norm_part(self.perturbation_)
        if norm is not None:
            # The user's network may have been trained meanwhile.
            backbone.module = with_features_clamped(backbone.module, norm)
        if hasattr(self, "last_layer_"):
            backbone.module = with_last_layer(backbone.module, self.last_layer_)
        views = list(zip(self.views_, self.view_weights_.tolist(), strict=True)) if self._has_views else ()
        return backbone.logits(backbone.open(X), self._perturb, views=views, labelled=labelled)

    def _perturb(self, x):
        """Perturbed batch; raises where the fitted perturbation is for inputs of another shape."""
        if not (x.is_floating_point() and changes_inputs(self.perturbation_)):
            return x
        expected = tuple(self._input_shape)
        shape = tuple(x.shape)
        if shape[1:] == expected:
            return self.perturbation_(x).to(x.dtype)
        cause = None
        # Broadcasting would let some other shapes pass; networks of images may well take them in other sizes.
        if len(shape) == len(expected) + 1 and family_of(self.perturbation_).any_size:
            try:
                perturbed = self.perturbation_(x)
                if perturbed.shape == x.shape:
                    return perturbed.to(x.dtype)
            except RuntimeError as error:
                cause = error
        one = f"X of shape {shape} looks like one sample: X[None]"
        got = one if shape == expected else f"got inputs of shape {shape[1:]}"
        raise ValueError(
            f"X must have inputs of the shape that the perturbation was fitted to, {expected}; {got}"
        ) from cause

    def _before_and_after(self, X):
        """The first three inputs as a batch has them and as the perturbation leaves them: arrays of one sample each."""
        with torch.no_grad():
            for batch, _ in islice(self._backbone.open(dataset_behind(X)).batches(1), 3):
                x, others = self._backbone.to_device(batch)
                x = others[self._input_key] if x is None else x
                yield x[0].cpu().numpy(), self._perturb(x)[0].cpu().numpy()

    @property
    def map_(self):
        """The map of logits: `output_`'s, or the temperature."""
        return self.output_.map_ if hasattr(self, "output_") else Temperature(temperature_=self.temperature_)

    def _learned_in_words(self):
        """Yield what was learned and, where no verdict is about it, that it wasn't judged."""
        logits = f"are divided by T = {self.temperature_:.4g}"
        if hasattr(self, "output_"):
            n_parameters = self.map_.n_parameters
            numbers = f"{n_parameters:,} number{'s' * (n_parameters != 1)}"
            is_pool = isinstance(self.output_, Pool)
            name = f"a pool of maps, {self.output_.in_words()}" if is_pool else type(self.output_).__name__
            logits = f"pass through {name} ({numbers})"
        if self._has_views:
            shares = zip(titles_of(self.views_), self.view_weights_, strict=True)
            shown = ", ".join(f"{name} {share:.2f}" for name, share in shares)
            several = len(self.views_) > 1
            averaged = f"{len(self.views_)} views ({shown}) are averaged and" if several else f"one view ({shown}) are"
            logits = f"of {averaged} {logits.removeprefix('are ')}"
        if hasattr(self, "last_layer_"):
            logits = f"of other weights of {self.last_layer_.name!r}, the last layer, {logits}"
        yield f"{type(self).__name__}: {in_words(self.perturbation_)}, and logits {logits}."
        if hasattr(getattr(self, "output_", None), "label_noise_"):
            yield f"The rate of wrong labels beside it: label_noise_ = {self.output_.label_noise_:.4g}."
            yield from self.output_._of_noise()
        if hasattr(self, "last_layer_"):
            layer = self.last_layer_
            spread = f"standard error {layer.standard_error:.2g}"
            yield f"These weights lowered the held-out NLL by {-layer.difference:.3g} nats per sample ({spread})."
        if getattr(self, "_undoes", None) is not None:
            sentence = undoing(self._undoes)
            yield f"{sentence[0].upper()}{sentence[1:]}"
        if not self._verdicts() and (self.accepted_ or self._has_views):
            yield "No guard judged this."

    def _sentences(self):
        yield from self._learned_in_words()
        yield from self._of_missing_classes()
        for verdict in self._verdicts().values():
            yield from sentences(verdict)
        passes = " and ".join(f"{self.cost_[name]:.3g} {name}" for name in ("forward", "backward"))
        last = f"; epochs on all of them: {self.n_iter_}" if self.n_iter_ else ""
        yield f"The fit took {passes} passes over {self._n_samples:,} samples{last}."
        if hasattr(self, "estimator_"):
            yield "The other half fitted the estimator."
        beside = [f"{self.cost_[key]:.3g} over {name}" for key, name in _BESIDE.items() if self.cost_.get(key)]
        if beside:
            yield f"Beside these there were forward passes without labels: {' and '.join(beside)}."

    @property
    def _n_parameters(self):
        # The network in `module_` isn't learned, and `delta_` is the perturbation's once more.
        output = self.map_.n_parameters + len(self.views_) - 1
        if hasattr(self, "last_layer_"):
            output += self.last_layer_.weight.size + self.last_layer_.bias.size
        return output + sum(parameter.numel() for parameter in self.perturbation_.parameters())

    def _candidates(self, problem):
        """Settings that compete for the perturbation."""
        by_name = self.perturbation
        floating = problem.has_floating_inputs
        if by_name is None:
            return []
        gammas = [0.0, 0.5, 1.0, 2.0] if isinstance(self.gamma, str) else [self.gamma]
        candidates = [Settings.of(self, gamma=gamma, features=by_name == "norm") for gamma in gammas]
        if by_name != "auto":
            return candidates
        of_features = replace(candidates[0], features=True)
        # Nothing can be added to integers such as tokens, nor to inputs of many sizes.
        return [*candidates, of_features] if floating else [replace(of_features, perturbation="norm")]

    @property
    def _inputs_stay(self):
        """Return whether features alone are clamped, and nothing looks at the inputs."""
        return self.perturbation == "norm" and self._most_views == 1

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
        weighted = problem.weighted()
        drawn = self._draws_folds
        if drawn:
            problem = weighted = merged(weighted)
        splits = splits_of(self.validation_fraction, problem) if self._guarded or len(candidates) > 1 else []
        if not drawn:
            look_for_torn_copies(weighted, splits)
        return weighted, splits

    def _routed_to(self, groups=None):
        fitted = {} if is_frozen(self.estimator) else {"estimator": self.estimator}
        guard = {"guard": self.validation_fraction} if is_splitter(self.validation_fraction) else {}
        return fitted | guard

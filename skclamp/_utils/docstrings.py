"""Docstrings of the parameters and attributes that all calibrators share."""

import inspect
import re

_SHARED = {
    "estimator": """
estimator : torch.nn.Module, skorch.NeuralNet, scikit-learn classifier or None, default=None
    What yields the logits. A network, an initialised skorch net and a fitted classifier, a Pipeline too, are frozen
    and shared by reference. An unfitted scikit-learn classifier is cloned, and cross-fitted as `cv` says; so is a
    skorch net that isn't initialised, if `cv` is given. With None, X itself holds logits.""",
    "shared_parameters": """
response : {"auto", "logits", "probabilities"}, default="auto"
    What X or the estimator yields. "auto" takes arrays and modules to yield logits, and follows what a skorch net
    or a classifier says of itself. Probabilities become logits by their logarithm; each below 2.2e-16, float64's
    epsilon, counts as that.
classes : array-like of shape (n_classes,), default=None
    Names of the logits' columns. Needed unless the labels are 0 ... n_classes - 1 or of exactly n_classes kinds, or
    the estimator knows them.
cv : int, cross-validation generator or iterable, default=None
    Splits for an estimator that isn't fitted, as in scikit-learn's ``cross_val_predict``.
integer_scale : float or dict of str to float, default=None
    What a network's integer inputs are multiplied by, such as 1 / 255 for images of bytes: batch by batch on the
    device, so that X stays small. Floating-point inputs are taken as they are. Where X is a dict, the scales of the
    entries that have one. None leaves integers, such as tokens, and refuses images of them.
device : str or torch.device, default=None
    Where a network runs: by default where it is, elsewhere a copy of it.
batch_size : int, default=64
    Samples a forward pass of a network; of a DataLoader its own batch size counts.
least_probability : "auto" or float, default="auto"
    What less counts as wherever a logarithm of probabilities, given or a classifier's, is taken. Votes of 25 trees
    don't tell 0.02 from 0: where the calibration samples hold zeros beside such steps, "auto" takes half of the least
    vote. Or the share of labels among the zeros, (hits + 1) / zeros, where that is less and has a clearly lower NLL: so
    are zeros of masked actions and cut vocabularies. 0 leaves all as it is; else below 1 / n_classes. Without effect on
    networks.
verbose : int or "auto", default="auto"
    "auto" shows a progress bar after five seconds of work, where a terminal or a notebook listens; 0 shows nothing; 1
    shows a bar at once, whoever listens.""",
    "shared_attributes": """
module_ : ClampedModule
    An ordinary torch module from what the estimator takes, or X without one, to calibrated logits. It shares the
    network, its weights and its flags: call ``module_.eval()`` before use. Scikit-learn's classifiers have one where
    `skclamp.modules.as_module` knows them; ONNX lacks what a map with steps or knots needs.
classes_ : ndarray of shape (n_classes,)
    Names of the classes, in the order of the columns.
n_features_in_ : int
    Second dimension of X in `fit`; not set where X has more than two, or is a dict or a Dataset.
least_probability_ : float
    What less counts as wherever a logarithm is taken: see `least_probability`. It is 0 where the calibration samples
    hold no votes of 0, for networks, and for bins and ranks, which take no logarithm.""",
}

# The same of families of output maps.
_OUTPUT_MAPS = {
    "lbfgs_parameters": """
alpha : float, default=10.0
    Strength of the penalty: the mean loss has ``alpha / (2 * n_samples)`` times the weights' squared norm added.
max_iter : int, default=1000
    Most iterations of L-BFGS.
tol : float, default=1e-7
    Relative fall of the loss within an iteration below which the search ends.""",
    "stretching_attributes": """
temperature_ : float
    The optimal T of temperature scaling, which comes first.
rank_network_ : torch.nn.Module
    Takes log-probabilities in descending order to logits in descending order.
n_iter_ : int
    Iterations of L-BFGS.""",
    "odir_parameters": """
off_diagonal_penalty : float, default=None
    Strength that draws the entries off the diagonal to 0, at least 0. None chooses it by cross-validation: the
    lowest out-of-fold NLL on the way from strong to weak.
intercept_penalty : float, default=None
    Strength that draws the offsets to 0, at least 0. None chooses it in the same way, before the other and with a
    diagonal matrix.
n_folds : int, default=5
    Folds of the calibration set for the strengths, at least 2; they spread each class and its hard samples evenly,
    and nothing about them is random.""",
}

# The same of the calibrators that perturb the input.
_CLAMPING = {
    "few": """
max_views : int, default=1
    Forward passes that a prediction may cost. From 2 on, logits of several views of the perturbed input are averaged
    before T divides them, with weights of least NLL (Shanmugam et al., 2021). They are chosen one by one (Molchanov et
    al., 2020) within the guard's folds, and kept only where held-out samples prove that they beat one pass; the guard's
    level is then shared by its two verdicts. Not below 100 samples.
device : str or torch.device, default=None
    Where to compute. None is where the network is, and shares its weights; elsewhere a copy is used.
random_state : int, RandomState instance or None, default=None
    Of noise, folds, the order of samples, and the samples that steps are tried on; global random states are left
    alone. What your own code draws, an augmenting Dataset or a dropout in a perturbation, comes from the global ones,
    as in loops of torch: seed these yourself. Worker processes seed their own, as a DataLoader has them do.""",
    "views": """
views : "auto" or list of torch.nn.Module, default="auto"
    Views to choose from beside the input as it is. "auto" has, for images, a flip and shifts by a pixel of 32, with and
    without the flip; for sequences shifts in time; for tables none. It takes the axes for (channels, height, width) and
    (channels, time). Modules must keep shapes, treat each sample alike, and learn nothing; those given are copied.""",
    "clamped_estimator": """
estimator : torch.nn.Module, skorch.NeuralNet, scikit-learn classifier or None, default=None
    The trained network, or an initialised skorch net: it is shared, never changed. Of scikit-learn's fitted classifiers
    those that `skclamp.modules.as_module` makes a network of, in float64, most linear ones and MLPClassifier; and
    Pipelines of the transformers that it knows, which end in one or in a skorch net. One that isn't fitted is cloned,
    and cross-fitted as `cv` says, which a skorch net needs: while clamping learns, each sample goes through the clone
    that hasn't seen it, and predictions come from a clone fitted to all the data. None means that X holds logits.""",
    "outcome": """
output : BaseCalibrator, default=None
    A map of logits that takes the temperature's place at the end, such as ``StructuredMatrixScaling()``: a clone of
    it is fitted to the logits of the perturbed inputs. Whether a perturbation is kept is judged with a temperature
    alone, and the map isn't judged: it may overfit as it would by itself. None is the temperature.
verbose : int or "auto", default="auto"
    At 1, a progress bar of all the training: epochs, loss, T, and the held-out NLL once the guard knows it. "auto"
    shows it after five seconds, where a terminal or a notebook listens; 0 shows nothing. At 2, a line for each fold,
    which says what it found, and for what the guard decides; the final training prints one per epoch, as skorch
    does.""",
    "start_and_optimizer": """
loss_eps : float, default=0.0
    The training loss of a torch optimiser clips a label's probability to [loss_eps, 1 - loss_eps], below 0.5, beyond
    which a sample has no gradient. The authors' toolkit does so at 1e-7; 0 is the exact loss, which natural-gradient
    steps always take.
init : {"zeros", "normal", "gradient"} or array-like, default="zeros"
    Where the perturbation starts: at the identity; at the identity plus normal noise of standard deviation
    `init_scale` on each parameter; at the identity plus the mean gradient there, with respect to the parameter, of the
    summed logits over T; or at an array of the parameter's shape, such as a delta. The last two are for perturbations
    of one parameter, such as "full" and "channel".
init_scale : float, default=0.001
    Standard deviation of "normal", in units of the input.
init_temperature : "optimal" or float, default="optimal"
    Where T starts with a torch optimiser; "optimal" is temperature scaling's. Natural-gradient steps start at the
    optimal T, whatever is given here.
refit_temperature : bool, default=True
    Whether T is solved for exactly at the end: for the NLL, in float32 logits, the perturbation held. Without, T is
    that of the focal loss; held-out folds compare perturbations at exact temperatures all the same. Where folds judged
    the perturbation, the logits are out of fold: each sample's under what its fold, which held it out, fitted, scaled
    by the ratio of the temperatures that suit the result and the fold in sample. There, and where natural steps learned
    without a guard, labels are smoothed to 1 - 1 / (n_samples + 2), so that a few flawless samples promise no
    certainty.
optimizer : {"auto", "natural", "sgd", "adam"}, class or functools.partial, default="auto"
    "natural" takes full-batch natural-gradient steps with a line search. "auto" is "natural" up to 512 parameters of
    the perturbation, and beyond where `penalty` is 0, parameters times samples are at most 2**27, and one of the two at
    most 5,000; else "adam". "sgd", "adam" and subclasses of torch.optim.Optimizer run in skorch's loop. A partial sets
    arguments other than `lr`: ``partial(torch.optim.SGD, momentum=0.9)``. The perturbation "auto" grows by natural
    steps, and takes no other optimizer.""",
    "loop": """
max_epochs : int, default=10
    Passes of training over the data: as many with a torch optimiser, unless a callback ends them, and at the most so
    many natural-gradient steps. Natural-gradient training stops by itself when the gradients are no larger than chance
    makes them. Ctrl-C in the last training, after the guard's, keeps the best epoch with a warning; before that, it
    ends the fit.
shuffle : bool, default=True
    Whether a torch optimiser sees the samples in a new order each epoch.
callbacks : list of skorch.callbacks.Callback, default=None
    Called in the final training.""",
    "data": """
response : {"auto", "logits", "probabilities"}, default="auto"
    What the network yields, or X without one. "auto" follows what is known: logits of a module or an array; of a
    skorch net what its criterion and nonlinearity say; of a classifier its decision function, if it has one.
classes : array-like of shape (n_classes,), default=None
    Names of the columns. Needed unless the labels are 0 ... K-1, the estimator has ``classes_``, or there are
    exactly K distinct labels.
input_key : str, default=None
    The entry of X that is perturbed, where X is a dict or a Dataset of dicts, such as "pixel_values" or
    "inputs_embeds"; None is the only one. The others go with each sample unchanged. An array X goes to the network
    under this name.
integer_scale : float or dict of str to float, default=None
    What integer inputs are multiplied by, such as 1 / 255 for images of bytes: batch by batch on the device, so that X
    stays small. Where X is a dict, the scales of the entries that have one. The perturbation, and `module_`, take
    inputs on this scale: give `module_` the products.
least_probability : "auto" or float, default="auto"
    What less counts as where X holds probabilities, or their logarithms, in place of a network's inputs: see
    `skclamp.TemperatureScaling`. Without effect on networks.""",
    "computation": """
precision : {"auto", "float32", "bfloat16"}, default="auto"
    Arithmetic of the network while training. "auto" is bfloat16 autocast where the device multiplies it in
    hardware. The last temperature, and all that is predicted, come from the network's own precision.
batch_size : int, default=64
    Samples per forward pass, and per step of a torch optimiser; of a DataLoader its own batch size counts.""",
    "clamped_attributes": """
estimator_ : scikit-learn classifier
    The clone fitted to all the data; only where `estimator` isn't fitted.
temperature_ : float
    T.
perturbation_ : torch.nn.Module
    The fitted input transform; without parameters where none was kept.
delta_ : ndarray of one input's shape
    What is added to every input; only where the perturbation does nothing else ("full", "channel", or none).
accepted_ : bool
    Whether a perturbation was kept.
verdict_ : Verdict
    What the guard found; only where one was asked for. ``accepted`` : bool, which is False below 100 samples;
    ``reason`` : str, why a perturbation was kept or refused, or none was tried; ``difference`` : float, of held-out
    NLL to temperature scaling, in nats, which speaks of the whole procedure, since each fold chooses by itself;
    ``standard_error`` and ``p_value`` : float, of it; ``tried`` : dict, from each family that a fold fitted
    ("affine + grid" where it appended two) to its own difference; ``not_tried`` : dict, from each other family to the
    reason; ``n_samples`` : int, held out, each once; ``detectable_gain`` : float or None, the gain of NLL per sample
    that the guard would have accepted on half of such sets of samples, None where nothing was tried; ``folds`` : list
    of dict, what each fold learned, in how many epochs, and the NLL of what it held out.
views_ : list of torch.nn.Module
    The views that a prediction takes; a single ``Identity`` where there are no others.
view_weights_ : ndarray of shape (n_views,)
    Their weights, which sum to 1.
views_verdict_ : Verdict
    What the guard found of the views, against the single one of what was kept before; only where `max_views` is above 1
    and a guard was asked for. Its names are those of views.
output_ : BaseCalibrator
    The fitted clone of `output`; only where one was given.
module_ : ClampedModule
    Perturbation, network and temperature, or `output_` in its place, as one torch module that yields calibrated logits.
    It shares the network, its weights and its flags: call ``module_.eval()`` before use. Where the network takes
    several inputs by name, so does this: ``module_(**inputs)``. ONNX lacks what a map with steps or knots needs.
classes_ : ndarray of shape (n_classes,)
    Names of the columns.
n_features_in_ : int
    ``X.shape[1]``; not set where X has more than two dimensions, or is a Dataset.
history_ : skorch.history.History
    Of the final training: one row per epoch.
n_iter_ : int
    Epochs of the final training.
cost_ : dict
    Passes "forward" and "backward": how often each sample went through the network during `fit`, on average.""",
}


def with_shared_docs(calibrator):
    """Fill the places that a class's docstring leaves for what all calibrators share; order its signature likewise.

    A place is a line of its own that names a text above, such as ``{estimator}``. A dataclass has the parameters of its
    base first, a docstring those that matter most. Docstrings that Python has stripped (``-OO``) stay away.
    """
    if calibrator.__doc__ is not None:
        doc = inspect.cleandoc(calibrator.__doc__)
        for name, text in (_SHARED | _OUTPUT_MAPS | _CLAMPING).items():
            doc = doc.replace(f"{{{name}}}", text.strip("\n"))
        calibrator.__doc__ = doc
        # Without one of its own, it has the constructor of its base, and its order.
        if "__init__" in vars(calibrator):
            calibrator.__init__.__signature__ = _in_order(inspect.signature(calibrator.__init__), doc)
    return calibrator


def _in_order(signature, doc):
    """A constructor's signature in the order of the sections "Parameters" and "Other Parameters" of a docstring."""
    sections = re.findall(r"^(?:Other )?Parameters\n-+\n(.*?)\n\n", doc, re.MULTILINE | re.DOTALL)
    found = [name for section in sections for name in re.findall(r"^(\w.*?) : ", section, re.MULTILINE)]
    names = [name for several in found for name in several.split(", ")]
    order = {name: place for place, name in enumerate(["self", *names])}
    return signature.replace(
        parameters=sorted(signature.parameters.values(), key=lambda parameter: order.get(parameter.name, 0))
    )

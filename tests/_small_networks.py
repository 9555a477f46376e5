"""Small networks, inputs for them, and a snapshot of everything that a calibrator must leave as it was."""

import pickle

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.utils import check_random_state
from torch import nn

N_CLASSES = 4


def convolutional(seed=0, n_classes=N_CLASSES):
    """Convolution, batch norm with a history, dropout and a linear head, in eval mode; over-confident by a factor."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(24, n_classes),
    )
    with torch.no_grad():
        network(torch.randn(64, 3, 8, 8))
        network[-1].weight.mul_(12)
    return network.eval()


def perceptron(seed=0, n_features=6, n_outputs=N_CLASSES, *last):
    """Two linear layers and whatever follows them, in eval mode."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(n_features, 16), nn.Tanh(), nn.Linear(16, n_outputs), *last)
    with torch.no_grad():
        network[2].weight.mul_(6)
    return network.eval()


def images(n_samples=96, seed=0):
    return np.random.default_rng(seed).normal(size=(n_samples, 3, 8, 8)).astype(np.float32)


def vectors(n_samples=200, n_features=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n_samples, n_features)).astype(np.float32)


def logits(n_samples=300, n_classes=N_CLASSES, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(n_samples, n_classes))


def bare_logits(network, X):
    """What the network itself says of X, in eval mode, its mode given back."""
    was_training = [(part, part.training) for part in network.modules()]
    network.eval()
    with torch.no_grad():
        out = network(torch.as_tensor(X))
    for part, flag in was_training:
        part.training = flag
    return out.double().numpy()


def labels_of(scores, temperature=2.0, seed=0):
    """Labels drawn from softmax(scores / temperature), so that this temperature is about right."""
    noise = np.random.default_rng(seed).gumbel(size=np.shape(scores))
    return (np.asarray(scores) / temperature + noise).argmax(1)


def softmax(scores):
    return torch.softmax(torch.as_tensor(scores).double(), 1).numpy()


def nll(scores, y):
    return torch.nn.functional.cross_entropy(torch.as_tensor(scores).double(), torch.as_tensor(y)).item()


def snapshot(network):
    """Everything about a network and the global random states, in a form that `==` compares exactly."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {
        "values": {name: bytes_of(tensor) for name, tensor in tensors},
        "places": {name: (id(tensor), tensor.data_ptr(), tensor.device) for name, tensor in tensors},
        "requires_grad": {name: parameter.requires_grad for name, parameter in network.named_parameters()},
        "gradients": {name: bytes_of(parameter.grad) for name, parameter in network.named_parameters()},
        "training": {name: part.training for name, part in network.named_modules()},
        "hooks": {name: _hooks(part) for name, part in network.named_modules()},
        "numpy": pickle.dumps(check_random_state(None).get_state()),
        "torch": bytes_of(torch.get_rng_state()),
    }


def bytes_of(tensor):
    """The memory of a tensor, None of None."""
    if tensor is None:
        return None
    if hasattr(tensor, "__tensor_flatten__"):
        # Of quantised weights the tensors within: they lack most of a tensor's methods.
        return [bytes_of(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0]]
    # An empty one has no strides that could be viewed.
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _hooks(part):
    return {name: list(value) for name, value in vars(part).items() if name.endswith("_hooks")}


def put_into_odd_state(network):
    """Train mode but for one layer, a frozen weight, gradients on the others, and a hook."""
    network.train()
    network[0].eval()
    parameters = list(network.parameters())
    parameters[0].requires_grad_(False)
    for parameter in parameters[1:]:
        parameter.grad = torch.full_like(parameter, 0.25)
    network[0].register_forward_hook(lambda module, inputs, output: None)
    return network


def smoothed_temperature(scores, y, weight=None, gamma=0.0):
    """T at which labels of probability 1 - 1 / (n + 2), the others sharing the rest, lose least; n is Kish's."""
    weight = np.ones(len(y)) if weight is None else weight
    spread = 1 / (weight.sum() ** 2 / (weight**2).sum() + 2)
    others = torch.ones(scores.shape, dtype=torch.float64)
    others[np.arange(len(y)), y] = 0

    def loss(log_temperature):
        log_proba = torch.log_softmax(torch.as_tensor(scores).double() / np.exp(log_temperature), 1)
        own = log_proba[np.arange(len(y)), y]
        mean_of_others = (log_proba * others).sum(1) / others.sum(1)
        focal = -((-torch.expm1(own)) ** gamma) * own
        return np.average(focal + spread * (own - mean_of_others), weights=weight)

    return np.exp(minimize_scalar(loss, bounds=(-8, 8), options={"xatol": 1e-10}).x)

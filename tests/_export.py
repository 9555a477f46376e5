"""The ways out of Python that a deployed module must take: torch.export and ONNX."""

import warnings
from contextlib import contextmanager

import pytest
import torch
from sklearn.utils.fixes import parse_version
from torch._dynamo.exc import TorchDynamoException
from torch.onnx import OnnxExporterError


def any_batch():
    return ({0: torch.export.Dim("n", min=1)},)


@contextmanager
def what_this_torch_exports():
    """Of the oldest torch alone an export may fail: it can't follow numpy's scalars, or attention's fast path."""
    try:
        with warnings.catch_warnings():
            # The oldest torch warns of tensors that a module holds outside its buffers, and exports them.
            warnings.filterwarnings("ignore", ".*get_attr", UserWarning)
            yield
    except (TorchDynamoException, OnnxExporterError) as error:
        if parse_version(torch.__version__) >= parse_version("2.7"):
            raise
        pytest.skip(f"torch {torch.__version__} doesn't export it: {str(error)[:80]}")


def exported(module, x, _folder=None):
    with what_this_torch_exports():
        return torch.export.export(module, (x,), dynamic_shapes=any_batch()).module()


def onnx(module, x, folder):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        # Of torch's and onnxscript's own doing.
        warnings.simplefilter("ignore")
        options = {"dynamo": True, "dynamic_shapes": any_batch(), "verbose": False}
        with what_this_torch_exports():
            torch.onnx.export(module, (x,), folder / "module.onnx", **options)
    session = runtime.InferenceSession(folder / "module.onnx")
    return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


# ONNX is made of what torch.export gives, and dear: modules/test_export.py stands for it in the fast run.
HOW = pytest.mark.parametrize(
    "how", [exported, pytest.param(onnx, marks=pytest.mark.slow)], ids=lambda how: how.__name__
)


def check_the_same(module, x, how, folder):
    """Probabilities to 1e-5, and logits to 1e-5 of the largest: kernels round their sums each in its own way."""
    with torch.no_grad():
        expected = module(x)
        away = how(module, x[:3], folder)
        for rows in (slice(0, 1), slice(None)):
            found = away(x[rows])
            torch.testing.assert_close(found, expected[rows], rtol=0, atol=1e-5 * max(1, expected.abs().max()))
            torch.testing.assert_close(found.softmax(1), expected[rows].softmax(1), rtol=0, atol=1e-5)

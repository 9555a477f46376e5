import pytest
import torch
from torch import nn

from skclamp.perturbations import (
    AffinePerturbation,
    ChannelPerturbation,
    ColorPerturbation,
    CurvePerturbation,
    FilterPerturbation,
    FullPerturbation,
    GridPerturbation,
)
from skclamp.perturbations._families import PERTURBATIONS, additive_part

SHAPES = {"vector": (5,), "sequence": (3, 9), "image": (3, 8, 7), "volume": (2, 4, 5, 6)}
FITTING = {
    "full": SHAPES,
    "channel": SHAPES,
    "affine": SHAPES,
    "curve": SHAPES,
    "color": {"sequence", "image", "volume"},
    "filter": {"sequence", "image"},
    "grid": {"sequence", "image"},
}
PAIRS = [(name, shape) for name, shapes in FITTING.items() for shape in SHAPES if shape in shapes]
MISFITS = [(name, shape) for name, shapes in FITTING.items() for shape in SHAPES if shape not in shapes]


def batch(shape, n_samples=4):
    return torch.randn(n_samples, *SHAPES[shape], generator=torch.Generator().manual_seed(0))


def moved(perturbation):
    """The perturbation with every parameter moved by other noise."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in perturbation.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return perturbation


def test_every_family_is_tested():
    assert FITTING.keys() == PERTURBATIONS.keys()


@pytest.mark.parametrize(("name", "shape"), PAIRS)
def test_each_starts_as_the_identity(name, shape):
    x = batch(shape)
    torch.testing.assert_close(PERTURBATIONS[name](SHAPES[shape])(x), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "shape"), PAIRS)
def test_each_keeps_shapes_and_treats_samples_alike(name, shape):
    perturbation, x = moved(PERTURBATIONS[name](SHAPES[shape])), batch(shape)
    out = perturbation(x)
    assert out.shape == x.shape
    assert (out - x).abs().max() > 0.01
    for i in range(len(x)):
        torch.testing.assert_close(perturbation(x[i : i + 1])[0], out[i])


@pytest.mark.parametrize(("name", "shape"), PAIRS)
def test_every_parameter_has_a_gradient(name, shape):
    perturbation = PERTURBATIONS[name](SHAPES[shape])
    x = batch(shape)
    (perturbation(x) * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    assert all(parameter.grad.any() for parameter in perturbation.parameters())


@pytest.mark.parametrize(("name", "shape"), MISFITS)
def test_families_that_need_channels_and_axes_say_so(name, shape):
    with pytest.raises(ValueError, match=f"perturbation='{name}' needs a channel axis and .* got inputs of shape"):
        PERTURBATIONS[name](SHAPES[shape])


def test_full_adds_an_offset_an_entry():
    perturbation, x = moved(FullPerturbation((3, 8, 7))), batch("image")
    assert torch.equal(perturbation(x), x + perturbation.delta)


def test_channel_adds_an_offset_a_channel():
    perturbation, x = moved(ChannelPerturbation((3, 8, 7))), batch("image")
    assert perturbation.offset.shape == (3, 1, 1)
    torch.testing.assert_close(perturbation(x) - x, perturbation.offset.expand_as(x))


def test_affine_multiplies_and_adds():
    perturbation, x = moved(AffinePerturbation((5,))), batch("vector")
    torch.testing.assert_close(perturbation(x), perturbation.gain * x + perturbation.offset)


def test_color_mixes_channels_of_each_pixel():
    perturbation, x = moved(ColorPerturbation((3, 8, 7))), batch("image")
    pixel = perturbation.matrix @ x[1, :, 4, 2] + perturbation.offset.flatten()
    torch.testing.assert_close(perturbation(x)[1, :, 4, 2], pixel)


def test_filter_looks_at_neighbours_and_repeats_the_border():
    perturbation, x = moved(FilterPerturbation((3, 8, 7))), batch("image")
    out = perturbation(x)
    inside = (perturbation.weight[1, 0] * x[2, 1, 3:6, 2:5]).sum() + perturbation.offset[1, 0, 0]
    torch.testing.assert_close(out[2, 1, 4, 3], inside)
    corner = x[2, 1][[0, 0, 1]][:, [0, 0, 1]]
    expected = (perturbation.weight[1, 0] * corner).sum() + perturbation.offset[1, 0, 0]
    torch.testing.assert_close(out[2, 1, 0, 0], expected)


def test_a_curve_bends():
    curve, x = CurvePerturbation((3, 8, 7)), batch("image")
    with torch.no_grad():
        curve.bend.fill_(0.5), curve.gain.fill_(1.2), curve.offset.fill_(-0.3)
    torch.testing.assert_close(curve(x), 0.5 * x**2 + 1.2 * x - 0.3)


def test_a_grid_of_one_cell_is_affine():
    grid, affine, x = GridPerturbation((3, 8, 7), size=1), AffinePerturbation((3, 8, 7)), batch("image")
    with torch.no_grad():
        grid.gain.fill_(1.2), grid.offset.fill_(-0.3)
        affine.gain.fill_(1.2), affine.offset.fill_(-0.3)
    torch.testing.assert_close(grid(x), affine(x))


def test_a_grid_is_enlarged_to_the_input():
    grid, x = GridPerturbation((1, 6, 6), size=2), torch.zeros(1, 1, 6, 6)
    with torch.no_grad():
        grid.offset[0, 0] = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
        row = grid(x)[0, 0, 3]
    assert (row.diff() >= 0).all()
    assert row[0] == 0
    assert row[-1] == 1


@pytest.mark.parametrize("size", [0, 2, 9, -1])
def test_filter_size_must_be_odd_and_fit(size):
    with pytest.raises(ValueError, match=f"size must be odd and at most the input's 7 entries; got {size}"):
        FilterPerturbation((3, 8, 7), size=size)


@pytest.mark.parametrize("size", [0, 8])
def test_grid_must_fit(size):
    message = f"size must be at least 1 and no larger than the input's 7 entries; got {size}"
    with pytest.raises(ValueError, match=message):
        GridPerturbation((3, 8, 7), size=size)


def test_additive_part_is_what_the_perturbation_adds():
    shape, x = (3, 8, 7), batch("image")
    for perturbation in (moved(FullPerturbation(shape)), moved(ChannelPerturbation(shape)), nn.Identity()):
        part = additive_part(perturbation, shape)
        assert part.shape == shape
        torch.testing.assert_close(perturbation(x), x + part)


@pytest.mark.parametrize("name", ["affine", "color", "filter", "grid"])
def test_additive_part_is_none_where_more_than_adding_is_done(name):
    assert additive_part(PERTURBATIONS[name]((3, 8, 7)), (3, 8, 7)) is None


@pytest.mark.parametrize(("name", "shape"), PAIRS)
def test_inputs_of_half_precision_are_perturbed_in_float32(name, shape):
    perturbation, x = moved(PERTURBATIONS[name](SHAPES[shape])), batch(shape).bfloat16()
    out = perturbation(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, perturbation(x.float()))

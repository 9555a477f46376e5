"""Perturbations and their effects in words."""

from torch import nn

from ._families import MOST_SHOWN, family_of, flattened, is_ours, shown

# Layers that aren't clamped, of which each is told why.
_MOST_LAYERS = 3


def names_of(perturbation):
    """Names of the families that a perturbation is made of, in their order; of others the class's."""
    return [part.name if is_ours(part) else type(part).__name__ for part in flattened(perturbation)]


def title_of(perturbation):
    """The name that a perturbation has as a parameter, or those of a module's families."""
    return " + ".join(names_of(perturbation)) if isinstance(perturbation, nn.Module) else str(perturbation)


def in_words(perturbation):
    """Tell what becomes of inputs and features under a perturbation: its families and their numbers, in order."""
    parts = flattened(perturbation)
    of_inputs = [_in_words(part) for part in parts if not family_of(part).of_features]
    of_features = [part for part in parts if family_of(part).of_features]
    inputs = f"inputs pass through {', then '.join(of_inputs)}" if of_inputs else "inputs stay as they are"
    for norm in of_features:
        others = f"; not others: {reasons_in_words(norm.left_out)}" if norm.left_out else ""
        inputs += f", features pass through norm ({layers_in_words(norm, 'normalisation layer')}{others})"
    return inputs


def _in_words(part):
    numbers = []
    for name, parameter in part.named_parameters():
        if parameter.numel() <= MOST_SHOWN:
            numbers.append(f"{name} {shown(parameter)}")
        else:
            low, high = parameter.aminmax()
            numbers.append(f"{name} of {parameter.numel():,} numbers from {low:.4g} to {high:.4g}")
    return f"{title_of(part)} ({', '.join(numbers)})"


def layers_in_words(norm, noun):
    """Tell how many layers a clamp of features has, how many gains and offsets, and between which these lie."""
    parts = [f"{len(norm.layers)} {noun}{'s' * (len(norm.layers) != 1)}"]
    for name, values in norm.named_parameters():
        if values.numel() and not values.is_meta:
            low, high = values.aminmax()
            parts.append(f"{values.numel():,} {name}{'s' * (values.numel() > 1)} from {low:.4g} to {high:.4g}")
    return ", ".join(parts)


def reasons_in_words(left_out):
    """Tell of some layers, by name, why they can't be clamped."""
    told = [f"{name!r} {reason}" for name, reason in list(left_out.items())[:_MOST_LAYERS]]
    n_more = len(left_out) - len(told)
    return ", ".join([*told, f"and {n_more} more"] if n_more else told)


def undoing(name):
    """Sentence on a perturbation that the inverse of a normalisation does as well as."""
    return (
        f"the learned perturbation undoes a normalisation: the inverse of {name} does as well. Is X normalised twice?"
    )

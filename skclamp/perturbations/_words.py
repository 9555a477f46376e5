"""What a perturbation is called, and what it does, in words."""

from torch import nn

from ._families import MOST_SHOWN, is_ours, shown


def names_of(perturbation):
    """Names of the families that a perturbation is made of, in their order; of others the class's."""
    if isinstance(perturbation, nn.Sequential):
        return [name for part in perturbation for name in names_of(part)]
    return [perturbation.name if is_ours(perturbation) else type(perturbation).__name__]


def title_of(perturbation):
    """The name that a perturbation has as a parameter, or those of a module's families."""
    return " + ".join(names_of(perturbation)) if isinstance(perturbation, nn.Module) else str(perturbation)


def in_words(perturbation):
    """What a perturbation does, in words: its families with their numbers, in their order."""
    parts = perturbation if isinstance(perturbation, nn.Sequential) else [perturbation]
    return ", then ".join(_in_words(part) for part in parts)


def _in_words(part):
    numbers = []
    for name, parameter in part.named_parameters():
        if parameter.numel() <= MOST_SHOWN:
            numbers.append(f"{name} {shown(parameter)}")
        else:
            low, high = parameter.aminmax()
            numbers.append(f"{name} of {parameter.numel():,} numbers from {low:.4g} to {high:.4g}")
    return f"{title_of(part)} ({', '.join(numbers)})"

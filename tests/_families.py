"""Every public family of perturbations, by the name that the parameter `perturbation` has for it."""

from skclamp import perturbations

PUBLIC = [getattr(perturbations, name) for name in perturbations.__all__]
# That of features takes no shape of inputs.
PERTURBATIONS = {kind.name: kind for kind in PUBLIC if hasattr(kind, "of_features") and not kind.of_features}

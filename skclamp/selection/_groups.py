"""Calibrators in groups of a kind, as a page shows them."""

UNCALIBRATED_GROUP = "as it is"


def group_of(calibrator):
    """The group of a calibrator; None stands for the uncalibrated network."""
    return UNCALIBRATED_GROUP if calibrator is None else calibrator._group

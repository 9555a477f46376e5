"""Torch modules: logits of any network, and the calibrated network to deploy."""

from ._clamped import ClampedModule
from ._from_sklearn import as_module
from ._frozen import frozen
from ._last_layer import LastLayer
from ._logits import LogitsModule, logits_from
from ._selective import SelectiveModule

__all__ = ["ClampedModule", "LastLayer", "LogitsModule", "SelectiveModule", "as_module", "frozen", "logits_from"]

"""Input transforms that clamping learns: small modules that start as the identity; and views, which learn nothing.

Each takes the shape of one input, channels first, and has few parameters; `FullPerturbation` is that of Tang, Chen and
Ho (2024). Any nn.Module that starts as the identity and keeps shapes serves as well, an nn.Sequential of these among
them.
"""

from . import _families, _norm, _views
from ._families import *
from ._norm import *
from ._views import *

__all__ = [*_families.__all__, *_norm.__all__, *_views.__all__]

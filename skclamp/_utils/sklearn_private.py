"""scikit-learn's private helpers, and those that only some versions have, imported here alone."""

from contextlib import nullcontext

from sklearn.metrics._scorer import _BaseScorer as BaseScorer
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _num_samples as num_samples

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback._callback_support import callback_management_context
except ModuleNotFoundError as error:
    if error.name != "sklearn.callback":
        raise
    # Before 1.9 nobody can set any.
    CallbackSupportMixin = type("CallbackSupportMixin", (), {})
    callback_management_context = nullcontext

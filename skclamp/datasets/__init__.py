"""Small data sets that come with the package, for examples and first trials."""

from ._fogged_digits import load_fogged_digits

__all__ = ["load_fogged_digits"]

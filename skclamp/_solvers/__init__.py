"""Numerical solvers on tensors and arrays: temperatures, regressions, stacking weights."""

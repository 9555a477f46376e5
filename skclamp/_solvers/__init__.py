"""Numerical solvers on tensors and arrays: temperatures, regressions, weights of stacks and views."""

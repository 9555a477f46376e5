"""Checks, folds, statistics and routing that every room uses."""

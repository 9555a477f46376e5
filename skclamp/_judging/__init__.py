"""Judges of proposals: out of fold, beside a baseline, in numbers; and the words of their verdicts."""

"""How proposals are judged: out of fold, beside a baseline, in numbers; and the words of their verdicts."""

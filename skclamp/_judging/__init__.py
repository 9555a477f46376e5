"""How proposals are judged: out of fold, beside a baseline, in numbers; and the one file of words that tells them."""

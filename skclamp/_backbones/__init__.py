"""Ways to logits from all that a user may have: its inputs, its device, its network or classifier."""

"""Whatever the user has becomes logits: its inputs, its device, its network or classifier."""

"""Pools of output maps: what each brings beyond temperature scaling, at a price."""

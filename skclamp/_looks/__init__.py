"""Looks at samples and fits: what they show of a misuse that no single value betrays."""

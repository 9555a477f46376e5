"""The page and the figure of a comparison, and what they keep of a test set."""

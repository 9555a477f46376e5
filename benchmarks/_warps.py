"""Views that were looked at and left out of "auto": images turned or enlarged a little, mirrored or not."""

import math
from itertools import product

from torch import nn
from torch.nn import functional

DEGREES = 8.0
ZOOM = 0.08


class Warp(nn.Module):
    """Images turned by some degrees and enlarged by a factor, the border repeated, and mirrored if asked for."""

    def __init__(self, degrees=0.0, zoom=1.0, flip=False):
        super().__init__()
        self.degrees, self.zoom, self.flip = degrees, zoom, flip

    @property
    def title(self):
        """What summaries call it."""
        turned = f"turn {self.degrees:+g}" if self.degrees else f"zoom {self.zoom:g}"
        return f"{'flipped ' * self.flip}{turned}"

    def extra_repr(self):
        return f"degrees={self.degrees}, zoom={self.zoom}, flip={self.flip}"

    def forward(self, x):
        """Warped batch, of the same shape."""
        angle = math.radians(self.degrees)
        cosine, sine = math.cos(angle) / self.zoom, math.sin(angle) / self.zoom
        matrix = x.new_tensor([[cosine, -sine, 0], [sine, cosine, 0]]).expand(len(x), 2, 3)
        grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
        warped = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return warped.flip(-1) if self.flip else warped


def warps():
    """Candidates: turned either way, enlarged or reduced, each with and without the flip."""
    moves = [{"degrees": DEGREES}, {"degrees": -DEGREES}, {"zoom": 1 + ZOOM}, {"zoom": 1 - ZOOM}]
    return [Warp(**move, flip=flip) for move, flip in product(moves, (False, True))]

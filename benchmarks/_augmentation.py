"""Images as they were augmented in training: random crop, flip and a small cutout, anew whenever an image is read."""

import torch
from torch.nn import functional
from torch.utils.data import Dataset

# What the cutout is filled with: near the mean of natural images in [0, 1], which normalising makes 0.
GREY = 0.5


class AugmentedImages(Dataset):
    """A view of images that crops, flips and cuts out at random whenever one is read.

    Draws come from torch's global generator, as those of torchvision's transforms do: seed it before a fit.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width), or Dataset of such images or of (image, label)
        Scaled to [0, 1].
    padding : float, default=1/8
        Margin of zeros that the crop moves in, as a share of the side: 4 pixels of 32.
    cutout : float, default=1/4
        Side of the square that is cut out, as a share of the side: 8 pixels of 32. 0 cuts nothing out.
    """

    def __init__(self, images, *, padding=1 / 8, cutout=1 / 4):
        self.images, self.padding, self.cutout = images, padding, cutout

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        item = self.images[index]
        image = item[0] if isinstance(item, (tuple, list)) else item
        return self._cut_out(_flip(self._crop(image)))

    def _crop(self, image):
        """A window of the image's own size in the padded image."""
        height, width = image.shape[-2:]
        margin = round(self.padding * height)
        top, left = torch.randint(2 * margin + 1, (2,)).tolist()
        return functional.pad(image, (margin,) * 4)[..., top : top + height, left : left + width]

    def _cut_out(self, image):
        """A grey square whose centre may lie anywhere, so that its part beyond the border is lost."""
        height, width = image.shape[-2:]
        side = round(self.cutout * height)
        top, left = (int(torch.randint(length, ())) - side // 2 for length in (height, width))
        image = image.clone()
        image[..., max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = GREY
        return image


class NormalizedImages(Dataset):
    """A view of images, as a network sees them that has its normalisation before it.

    Parameters
    ----------
    images : Dataset of images or of (image, label)
        Scaled to [0, 1].
    normalize : callable
        Of a batch.
    """

    def __init__(self, images, normalize):
        self.images, self.normalize = images, normalize

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        item = self.images[index]
        image = item[0] if isinstance(item, (tuple, list)) else item
        return self.normalize(image[None])[0]


def _flip(image):
    """Mirrored or not, each half of the time."""
    return image.flip(-1) if torch.rand(()) < 0.5 else image

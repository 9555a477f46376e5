"""A small detector: at each cell of a grid how likely an object of each class has its centre there, and its box."""

import numpy as np
from torch import nn

N_CLASSES, STRIDE = 5, 4


class Detector(nn.Module):
    """Three scales down to the grid; five scores of classes and a box, (top, left, bottom, right), at each cell."""

    def __init__(self, width=24):
        super().__init__()
        channels, layers = (1, width, 2 * width, 2 * width), []
        for n_in, n_out, step in zip(channels[:-1], channels[1:], (2, 2, 1), strict=True):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
            layers += [nn.Conv2d(n_out, n_out, 3, step, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Conv2d(2 * width, N_CLASSES + 4, 1)

    def forward(self, x):
        """Scores before the sigmoid (n, K, rows, columns), and distances of a box's sides from the cell's centre."""
        values = self.head(self.body(x))
        return values[:, :N_CLASSES], 8 + 8 * values[:, N_CLASSES:]


def centres(shape):
    """Centres of the cells of a grid, (rows, columns, 2)."""
    return np.stack(np.meshgrid(*(STRIDE * (np.arange(size) + 0.5) for size in shape), indexing="ij"), -1)


def targets(boxes, labels, shape):
    """What the detector is to say of an image: 1 at the cell of an object's centre, and the distances of its sides."""
    hit, sides = np.zeros((N_CLASSES, *shape), np.float32), np.zeros((4, *shape), np.float32)
    for box, label in zip(boxes, labels, strict=True):
        row, column = np.minimum((box[:2] + box[2:]) / 2 // STRIDE, np.array(shape) - 1).astype(int)
        hit[label, row, column] = 1
        centre = centres(shape)[row, column]
        sides[:, row, column] = [*(centre - box[:2]), *(box[2:] - centre)]
    return hit, sides


def overlap(box, others):
    """Intersection over union of a box with others, (m, 4)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(each[..., 2:] - each[..., :2], 0, None), axis=-1) for each in (box, others)]
    return common / np.maximum(areas[0] + areas[1] - common, 1e-9)


def detect(scores, sides, least=0.1):
    """Boxes, classes and scores of an image, the surest first; of boxes of a class that overlap the surest."""
    label, row, column = np.nonzero(scores > least)
    middle, (top, left, bottom, right) = centres(scores.shape[1:])[row, column], sides[:, row, column]
    boxes = np.column_stack([middle[:, 0] - top, middle[:, 1] - left, middle[:, 0] + bottom, middle[:, 1] + right])
    score, kept = scores[label, row, column], []
    for k in np.argsort(-score):
        same = [j for j in kept if label[j] == label[k]]
        if not same or overlap(boxes[k], boxes[same]).max() < 0.5:
            kept.append(k)
    return boxes[kept], label[kept], score[kept]


def matches(boxes, labels, true_boxes, true_labels):
    """Whether each box, the surest first, overlaps an object of its class by half that no surer box has taken."""
    free, found = np.ones(len(true_boxes), bool), []
    for box, label in zip(boxes, labels, strict=True):
        iou = np.where(free & (true_labels == label), overlap(box, true_boxes), 0)
        found.append(bool(len(iou) and iou.max() >= 0.5))
        if found[-1]:
            free[iou.argmax()] = False
    return np.array(found, bool)

"""Trains as `_training` does where several processes hold the samples: each takes its part of every batch.

The batches are those that one process with all the samples would draw, and each step's loss and gradients are summed
over the processes.
"""

import torch
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from ._training import ClampingNet


class ShardedNet(ClampingNet):
    """A net of skorch whose every batch is spread over processes; the parameters are those of `ClampingNet`."""

    @staticmethod
    def reading(problem, settings, generator):
        """Of this process's samples, and of one more that weighs nothing, for batches that have none of them."""
        y_encoded, *weight = problem.targets()
        weight = weight[0] if weight else torch.ones(len(y_encoded), dtype=torch.float64)
        targets = [torch.cat([part, part.new_zeros(1)]) for part in (y_encoded, weight)]
        batches = _Batches(problem.shard, problem.inputs.batch_size, settings.shuffle, generator)
        return problem.inputs.training_set(*targets), {"batch_sampler": batches, "batch_size": 1}

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """The part that this process's samples have in the mean focal loss of a batch, and of the penalty."""
        _, weight = y_true
        own = weight.sum()
        self.batch_weight_ = self.ranks.sum(own)
        share = (own / self.batch_weight_).to(y_pred)
        loss = self._data_loss(y_pred, y_true) * share if own else y_pred.sum() * 0.0
        # With the penalty divided, the sum over the processes has it once.
        return loss + self._penalty() / self.ranks.size

    def train_step_single(self, batch, **fit_params):
        """Loss and gradients of a batch, summed over the processes."""
        step = super().train_step_single(batch, **fit_params)
        parameters = [p for _, p in self.get_all_learnable_params()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        parts = [step["loss"].detach()[None], *(gradient.flatten() for gradient in gradients)]
        loss, *sums = self.ranks.sum(torch.cat([part.double() for part in parts])).split([len(part) for part in parts])
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total.view_as(parameter).to(parameter)
        return {**step, "loss": loss[0]}

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Have the history count each batch for its weight with all processes, as its means of losses need it."""
        super().on_batch_end(net, batch=batch, training=training, **kwargs)
        self.history.record_batch("train_batch_size", self.batch_weight_.item())


class _Batches:
    """Each batch of all the samples as the positions of this process's own; -1, the sample without weight, for none."""

    def __init__(self, shard, batch_size, shuffle, generator):
        everything = range(shard.total)
        order = RandomSampler(everything, generator=generator) if shuffle else SequentialSampler(everything)
        self.batches = BatchSampler(order, batch_size, drop_last=False)
        self.shard = shard

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        own = range(self.shard.start, self.shard.start + self.shard.size)
        for batch in self.batches:
            yield [row - self.shard.start for row in batch if row in own] or [-1]

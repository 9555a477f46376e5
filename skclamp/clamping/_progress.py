"""Progress: a bar over all the trainings of a fit, drawn by tqdm as skorch's loop goes on."""

from skorch.callbacks import Callback
from tqdm.auto import tqdm


class Progress(Callback):
    """A bar that counts epochs and shows the loss, T and, once the guard knows it, the held-out NLL."""

    def __init__(self, visible, max_epochs):
        self.visible = visible
        self.max_epochs = max_epochs

    def __enter__(self):
        self.bar_ = tqdm(total=self.max_epochs, unit="epoch", disable=not self.visible)
        self.shown_ = {}
        self.n_epochs_ = 0
        return self

    def __exit__(self, kind, *error):
        if kind is None:
            # Trainings that weren't needed are done as well.
            self.bar_.update(self.bar_.total - self.bar_.n)
        self.bar_.close()

    def expect(self, n_trainings):
        """How many trainings there are, if all are needed."""
        self.bar_.total = n_trainings * self.max_epochs

    def begin(self, stage):
        """Name what comes next."""
        self.bar_.set_description(stage)

    def held_out(self, losses, plain):
        """The mean NLL of samples that weren't trained on, and that of temperature scaling."""
        self._show(**{"held-out NLL": f"{losses:.4f}", "with T alone": f"{plain:.4f}"})

    def on_epoch_end(self, net, **kwargs):
        """A step of the bar."""
        self.n_epochs_ += 1
        self.bar_.update()
        self._show(loss=f"{net.history[-1, 'train_loss']:.4f}", T=f"{net.history[-1, 'temperature']:.3f}")

    def on_train_end(self, net, **kwargs):
        """The epochs that convergence saved."""
        self.bar_.update(self.max_epochs - self.n_epochs_)
        self.n_epochs_ = 0

    def _show(self, **values):
        self.shown_.update(values)
        self.bar_.set_postfix(self.shown_)

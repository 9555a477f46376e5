"""Progress: a bar over all the trainings of a fit, drawn by tqdm, and lines of the folds and of the last epochs."""

from tqdm.auto import tqdm

from .._utils.progress import progress_bar
from .._utils.warnings import warn_caller
from ..exceptions import InterruptedFitWarning

# The name of the training with all the samples.
_LAST_STAGE = "all samples"


class Progress:
    """A bar that counts epochs and shows the loss, T and, once the guard knows it, the held-out NLL.

    From verbose=2 on there are lines of folds and verdicts as well, and of epochs of the final training.
    """

    def __init__(self, verbose, max_epochs):
        self.verbose = verbose
        self.max_epochs = max_epochs
        self._writes = verbose != "auto" and verbose > 1

    def __enter__(self):
        options = {"leave": False} if self._writes else {}
        self.bar_ = progress_bar(verbose=self.verbose, total=self.max_epochs, unit="epoch", **options)
        self.shown_ = {}
        self.n_epochs_ = 0
        self.stage_ = ""
        return self

    def __exit__(self, kind, *error):
        if kind is None:
            # Where nothing had to be trained, all is done.
            self.bar_.n = self.bar_.total = self.bar_.n or self.bar_.total
        self.bar_.refresh()
        self.bar_.close()

    def expect(self, n_trainings):
        """Tell how many trainings are to come, if all are needed."""
        self.bar_.total = self.bar_.n + n_trainings * self.max_epochs

    def begin(self, stage):
        """Name what comes next."""
        self.stage_ = stage
        self.bar_.set_description(stage)
        if self._writes and stage == _LAST_STAGE:
            self.bar_.close()

    def held_out(self, best, loss, baseline):
        """Show the best candidate of a fold, its mean held-out NLL, and that of temperature scaling."""
        self.show(**{"held-out NLL": f"{loss:.4f}", "with T alone": f"{baseline:.4f}"})
        name = best.name if best.moved else "no perturbation"
        n_epochs = best.told["n_epochs"]
        epochs = f"{n_epochs} epoch{'s' * (n_epochs != 1)}"
        self.write(
            f"{self.stage_}: {name}, T = {best.told['temperature']:.4g}, after {epochs}; held-out NLL {loss:.4f}, with "
            f"T alone {baseline:.4f}"
        )

    def epoch(self, history):
        """A step of the bar, for the last epoch of a history."""
        self.n_epochs_ += 1
        self.bar_.update()
        loss, temperature = history[-1, ("train_loss", "temperature")]
        self.show(loss=f"{loss:.4f}", T=f"{temperature:.3f}")
        if self.stage_ == _LAST_STAGE:
            self.write(f"epoch {len(history)}: train_loss {loss:.4f}, temperature {temperature:.4f}")

    def end(self):
        """Take away the epochs that convergence saved."""
        self.bar_.total = max(self.bar_.n, self.bar_.total - (self.max_epochs - self.n_epochs_))
        self.bar_.refresh()
        self.n_epochs_ = 0

    def show(self, **values):
        """Have the bar show values beside those that it shows."""
        self.shown_.update(values)
        self.bar_.set_postfix(self.shown_)

    def write(self, line):
        """Write a line, where these are asked for."""
        if self._writes:
            tqdm.write(line)


def warn_of_interrupt(n_epochs, most, n_kept):
    """Warn of training that Ctrl-C has ended in one of `most` epochs, where the state after another is kept."""
    kept = f"the state after epoch {n_kept} is kept, the best so far"
    warn_caller(f"training was interrupted in epoch {n_epochs} of {most}: {kept}", InterruptedFitWarning)

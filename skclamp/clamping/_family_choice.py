"""Which family natural steps go on with, among those that their first steps speak for."""

# Of families whose evidence differs by less, the one with fewer parameters goes first; nats.
_AS_MUCH_EVIDENCE = 1.0
# A first step under a weak prior gains half a nat for each parameter by chance. One that gains a whole nat for each, or
# so many fewer in all, is worth a look at where it leads; so many of these at the most.
_SHORTFALL = 2.0
_MOST_LOOKS = 2


def most_probable(steps, least):
    """Name of the step with the most evidence above a threshold; of several with as much, that of fewest parameters."""
    found = {name: step for name, step in steps.items() if step.evidence > least}
    most = max((step.evidence for step in found.values()), default=0.0)
    as_much = [name for name, step in found.items() if step.evidence > most - _AS_MUCH_EVIDENCE]
    return min(as_much, key=lambda name: len(found[name].direction), default=None)


def worth_a_look(steps):
    """Of first steps under a weak prior, by name, those that gain enough; a perturbation's own, None, always is."""
    surplus = {name: step.gain - step.n_effective_parameters for name, step in steps.items()}
    best = sorted(steps, key=surplus.__getitem__, reverse=True)
    enough = [name for name in best if surplus[name] > -_SHORTFALL or name is None]
    return {name: steps[name] for name in enough[:_MOST_LOOKS]}

"""A figure of NLL over temperature scaling's: a panel for each setting, a row for each change of the images."""


def draw(path, panels, order, marks, figsize, xlabel):
    """Write a PNG file.

    `panels` has for each title and method a frame of estimates, by the names in `order`; `marks` says how a method is
    drawn.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout="constrained")
    both = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    handles = {}
    for axes, (title, methods) in zip(both, panels.items(), strict=True):
        axes.axvline(1, color="black", lw=1, zorder=1)
        for method, found in methods.items():
            places, errors = [order.index(name) for name in found.index], found.get("standard_error")
            handles[method] = axes.errorbar(found["mean"], places, xerr=errors, lw=1.2, ls="none", **marks[method])
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(title, fontsize=10)
    both[0].set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    both[0].invert_yaxis()
    figure.supxlabel(xlabel, fontsize=10)
    lines = [handles[method] for method in marks if method in handles]
    columns = min(len(lines), 1 + len(panels))
    figure.legend(handles=lines, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)

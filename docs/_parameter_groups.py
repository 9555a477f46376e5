"""Sphinx extension: headings among the parameters of calibrators that have many."""

import re

# The first parameter of each group. Which parameters follow it, the docstring says.
GROUPS = {
    "estimator": "What is calibrated",
    "perturbation": "What is learned",
    "perturbations": "The grid",
    "validation_fraction": "What must be proved",
    "max_views": "Views",
    "output": "What comes out",
    "loss_eps": "Start and optimiser",
    "max_epochs": "The training loop",
    "response": "Data",
    "device": "Computation",
}
MANY = 20
PARAMETER = re.compile(r"( +)\*\*(\w+)\*\* : ")


def setup(app):
    # After numpydoc, which makes a field list of the section.
    app.connect("autodoc-process-docstring", group_parameters, priority=600)
    return {"parallel_read_safe": True}


def group_parameters(app, what, name, obj, options, lines):
    """Put a heading before each parameter that begins a group, where a class has many."""
    if what != "class" or ":Parameters:" not in lines:
        return
    start = lines.index(":Parameters:") + 1
    end = next((n for n in range(start, len(lines)) if lines[n].startswith(":")), len(lines))
    found = {n: match for n in range(start, end) if (match := PARAMETER.match(lines[n]))}
    if len(found) < MANY:
        return
    for n, match in reversed(found.items()):
        if title := GROUPS.get(match[2]):
            lines[n:n] = ["", f"{match[1]}.. rst-class:: parameter-group", "", f"{match[1]}{title}", ""]

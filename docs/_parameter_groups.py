"""Sphinx extension: what calibrators of many parameters need less often, under headings."""

import re

# The first parameter of each group. Which parameters follow it, the docstring says.
GROUPS = {
    "gamma": "Training",
    "device": "Computation",
    "integer_scale": "Data",
    "random_state": "Randomness and progress",
}
SECTION, TITLE = ":Other Parameters:", ":Less often needed:"
PARAMETER = re.compile(r"( +)\*\*(\w+)\*\* : ")


def setup(app):
    # After numpydoc, which makes a field list of the section.
    app.connect("autodoc-process-docstring", group_parameters, priority=600)
    return {"parallel_read_safe": True}


def group_parameters(app, what, name, obj, options, lines):
    """Name numpydoc's other parameters, and put a heading before each one that begins a group."""
    if what != "class" or SECTION not in lines:
        return
    start = lines.index(SECTION) + 1
    lines[start - 1] = TITLE
    end = next((n for n in range(start, len(lines)) if lines[n].startswith(":")), len(lines))
    found = {n: match for n in range(start, end) if (match := PARAMETER.match(lines[n]))}
    for n, match in reversed(found.items()):
        if title := GROUPS.get(match[2]):
            lines[n:n] = ["", f"{match[1]}.. rst-class:: parameter-group", "", f"{match[1]}{title}", ""]

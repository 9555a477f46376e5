"""Count the words of README and pages, and of the sentences of these and of public docstrings.

Half of the sentences are to have 14 words at most, and of twenty nineteen 25; no clause begins with "of which", "of
whose" or "that of". Words are counted as ``wc -w`` does, in all that a page holds; sentences stand in its paragraphs
and lists, not in its code and tables. Run by `make lint`; ``--long`` prints what is longer, or begins so.
"""

import inspect
import re
import sys
from pathlib import Path
from statistics import median

import numpy as np
from docutils import nodes
from docutils.core import publish_doctree
from docutils.utils import Reporter

from docstrings import definitions

ROOT = Path(__file__).resolve().parents[1]
MOST_WORDS, MEDIAN, LONG, PERCENT = 26_000, 14, 25, 95
CLAUSE = re.compile(r"(?:^|[,;:] )(?:of which|of whose|that of)\b", re.IGNORECASE)
# A full stop, but not of "e.g." or "et al.", and what may begin a sentence.
ENDS = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bal)(?<!\bvs)[.!?][\"')]*\s+(?=[\"'(`*<A-Z0-9]|[a-z]\w*[_(.])")
# Sphinx has roles that docutils lacks. A directive that it lacks is no paragraph.
ROLE = re.compile(r":[a-z:+]+:`~?\.?([^`<]*?)(?:\s*<[^`]*>)?`")
# Of Markdown what isn't prose, and links.
FENCED = re.compile(r"^```.*?^``` *$", re.DOTALL | re.MULTILINE)
OTHER = re.compile(r"^\|.*$|^#+ .*$|<[^>]*>", re.MULTILINE)
LINK = re.compile(r"!?\[(.*?)\]\(.*?\)")


def pages():
    """README, and the pages of the site that people write."""
    found = sorted((ROOT / "docs").rglob("*.rst"))
    return [
        ROOT / "README.md",
        *(path for path in found if not {"generated", "auto_examples", "_templates", "_build"} & set(path.parts)),
    ]


def of_rst(text):
    """Paragraphs of reStructuredText, but those of tables."""
    text = ROLE.sub(r"``\1``", text)
    tree = publish_doctree(
        text, settings_overrides={"report_level": Reporter.SEVERE_LEVEL + 1, "file_insertion_enabled": False}
    )
    for paragraph in tree.findall(nodes.paragraph):
        above, parents = paragraph.parent, []
        while above is not None:
            parents.append(type(above))
            above = above.parent
        if not {nodes.table, nodes.system_message, nodes.citation, nodes.footnote} & set(parents):
            yield " ".join(paragraph.astext().split())


def of_markdown(text):
    """Paragraphs of Markdown, but its tables, code and pictures."""
    text = OTHER.sub("", FENCED.sub("", text))
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*] )", text):
        yield " ".join(LINK.sub(r"\1", paragraph).split())


def sentences(paragraphs):
    """Sentences of some paragraphs."""
    return [each for paragraph in paragraphs for each in ENDS.split(paragraph) if re.search(r"\w", each)]


def written():
    """(name, words, sentences) of README, of each page, and of the docstrings of public names."""
    for path in pages():
        text = path.read_text(encoding="utf-8")
        found = of_markdown(text) if path.suffix == ".md" else of_rst(text)
        yield path.relative_to(ROOT).as_posix(), len(text.split()), sentences(found)
    found = [inspect.cleandoc(inspect.getdoc(thing) or "") for _, thing in definitions()]
    yield (
        "docstrings",
        sum(len(text.split()) for text in found),
        [each for text in found for each in sentences(of_rst(text))],
    )


def row(name, words, found):
    """A line of the table."""
    lengths = [len(each.split()) for each in found] or [0]
    odd = sum(bool(CLAUSE.search(each)) for each in found)
    return f"{name:36}{words:8,}{len(found):7,}{median(lengths):7g}{np.percentile(lengths, PERCENT):7g}{odd:7}"


def main():
    """Print a table; exit with 1 where a limit is passed."""
    parts = list(written())
    print(f"{'':36}{'words':>8}{'sent.':>7}{'median':>7}{'95 %':>7}{'odd':>7}")
    for part in parts:
        print(row(*part))
    words = sum(part[1] for part in parts[:-1])
    found = [each for part in parts for each in part[2]]
    print(row("README, pages; and docstrings", words, found))
    asked = sys.argv[2:] if "--long" in sys.argv[1:2] else None
    for name, _, own in parts if asked is not None else ():
        for each in own if not asked or name in asked else ():
            if len(each.split()) > LONG or CLAUSE.search(each):
                print(f"\n{name}: {each}")
    lengths = [len(each.split()) for each in found]
    broken = [
        (words > MOST_WORDS, f"README and pages have {words:,} words, more than {MOST_WORDS:,}"),
        (median(lengths) > MEDIAN, f"half of the sentences have more than {MEDIAN} words"),
        (
            np.percentile(lengths, PERCENT) > LONG,
            f"more than {100 - PERCENT} % of the sentences have over {LONG} words",
        ),
        (any(map(CLAUSE.search, found)), 'a clause begins with "of which", "of whose" or "that of"'),
    ]
    told = [what for is_broken, what in broken if is_broken]
    print(*told, sep="\n")
    return bool(told)


if __name__ == "__main__":
    sys.exit(main())

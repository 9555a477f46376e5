"""The built documentation, in a browser: pages fit a telephone, and the search finds what people type.

Build it first, with ``make docs``.
"""

from pathlib import Path

import pytest
from test_docs import ASKED

pytestmark = pytest.mark.slow

SITE = Path(__file__).resolve().parents[1] / "docs" / "_build" / "html"
WIDTH, HEIGHT = 390, 844
# Of what lies beyond the right edge: the page itself, cells of tables, and all that no box of its own scrolls.
BEYOND = """
() => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  const width = document.documentElement.clientWidth;
  const within = (element) => {
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      if (getComputedStyle(box).overflowX !== "visible") return true;
    }
    return false;
  };
  const beyond = (element) => element.offsetParent && element.getBoundingClientRect().right > width + 1;
  const named = (elements) => [...elements].filter(beyond).map((each) => `${each.tagName} ${each.textContent}`);
  return [
    ...(document.documentElement.scrollWidth > width ? ["the page scrolls"] : []),
    ...named(document.querySelectorAll("article :is(td, th)")),
    ...named([...document.querySelectorAll("article *")].filter((each) => !within(each))),
  ].slice(0, 5);
}
"""
TYPED = (
    *("uint8", "NHWC", "Hugging Face", "id2label", "LightGBM", "XGBoost", "timm", "BatchNorm", "slow", "out of memory"),
    *("T is 0.0001", "nothing was kept", "few samples", "training data", "device mismatch", "softmax", "n_jobs"),
    *("class imbalance", "segmentation", "pickle", "GridSearchCV", "Keras"),
)


@pytest.fixture(scope="module", autouse=True)
def built():
    if not (SITE / "searchindex.js").exists():
        pytest.skip(f"needs the documentation in {SITE}: make docs")


def test_no_page_is_wider_than_a_telephone(browser):
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_content("<article><table><tr><td><div style='width: 500px'>wide</div></td></tr></table></article>")
    assert len(page.evaluate(BEYOND)) >= 2
    found = {}
    for path in SITE.rglob("*.html"):
        page.goto(path.as_uri(), wait_until="domcontentloaded")
        if beyond := page.evaluate(BEYOND):
            found[str(path.relative_to(SITE))] = beyond
    page.close()
    assert found == {}


def found(browser, typed):
    """The addresses that the search finds, best first."""
    page = browser.new_page()
    page.goto(f"{(SITE / 'search.html').as_uri()}?q={typed.replace(' ', '+')}")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    page.wait_for_function("document.querySelector('#search-results p').textContent.length > 20")
    hrefs = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.getAttribute('href'))")
    page.close()
    return hrefs


@pytest.mark.parametrize("typed", TYPED)
def test_search_finds_questions_by_the_words_that_people_type(browser, typed):
    hrefs = found(browser, typed)
    assert any("troubleshooting" in href for href in hrefs[:3]), hrefs[:5]


@pytest.mark.parametrize(("typed", "answer"), ASKED.items())
def test_search_finds_the_page_that_answers(browser, typed, answer):
    hrefs = found(browser, typed)
    assert any(answer in href for href in hrefs[:3]), hrefs[:5]

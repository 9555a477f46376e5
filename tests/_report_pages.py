"""Pages of comparisons: those that tests ask for, what a file holds, and what a browser shows."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import torch
from _families import PERTURBATIONS
from _small_networks import labels_of, logits
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling, compare_calibrators

FEW = {"n_resamples": 50, "n_draws": 20}
SEED = 3
# A text that no name could be shown as unless it is escaped wherever it goes.
NASTY = "</script><img src=x onerror=\"document.title='broken'\">&amp;\u2028é"


class Reader(HTMLParser):
    """Tags with their attributes, and what the scripts, styles and the title hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.tags[-1][0] if self.tags else None, data))

    @property
    def data(self):
        scripts = [(attrs, k) for k, (tag, attrs) in enumerate(self.tags) if tag == "script"]
        assert [attrs["type"] for attrs, _ in scripts] == ["application/json", "module"]
        return json.loads(next(text for tag, text in self.texts if tag == "script"))


def read_page(comparison, path, **options):
    comparison.to_html(path, **options)
    return Reader(path.read_text(encoding="utf-8"))


def logits_of(n, k=3):
    return logits(n, k, seed=n, scale=2.0)


def labels_for(n, k=3):
    return labels_of(logits_of(n, k), temperature=1.0, seed=n + 1)


def small_comparison(k=3, calibrators=None, **options):
    parts = logits_of(200, k), labels_for(200, k), logits_of(300, k), labels_for(300, k)
    calibrators = [TemperatureScaling()] if calibrators is None else calibrators
    return compare_calibrators(None, *parts, calibrators=calibrators, **FEW, **options)


NASTY_CLASSES = [NASTY, "b", "a"]


def nasty_comparison():
    names = np.array(NASTY_CLASSES)
    parts = logits_of(200), names[labels_for(200)], logits_of(300), names[labels_for(300)]
    return compare_calibrators(None, *parts, calibrators={NASTY: TemperatureScaling()}, classes=names, **FEW)


def of_every_family():
    options = {"validation_fraction": None, "max_epochs": 1, "random_state": 0}
    return {name: NeuralClampingCalibrator(perturbation=name, **options) for name in PERTURBATIONS}


class OfPixels(nn.Module):
    """Four logits of each pixel, from its brightness."""

    def forward(self, x):
        return 20 * (x.mean(1, keepdim=True) - torch.tensor([0.2, 0.4, 0.6, 0.8]).view(1, 4, 1, 1)).square().neg()


def scenes(*shape, seed, n=20):
    """Images, and a class of each pixel that a network is too sure of, 9 where it isn't known."""
    X, rng = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)), np.random.default_rng(seed)
    logits = OfPixels()(X).numpy()
    y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)
    y[:, :2] = 9
    return X, y


def choose(page, *, n_bins=None, **selected):
    for control, label in selected.items():
        page.select_option(f"#{control}", label=label)
    if n_bins is not None:
        counts = page.evaluate("JSON.parse(document.getElementById('data').textContent).counts")
        page.locator("#bins").fill(str(counts.index(n_bins)))


def numbers(locator):
    """What the data elements hold, and the texts that they show."""
    found = locator.locator("data").evaluate_all("all => all.map(own => [Number(own.value), own.textContent])")
    return [value for value, _ in found], [text for _, text in found]


def choose_threshold(page, threshold):
    thresholds = page.evaluate("JSON.parse(document.getElementById('data').textContent).thresholds")
    page.locator("#cut").fill(str(thresholds.index(threshold)))


def rgb(color):
    return [float(part) for part in re.findall(r"[\d.]+", color)][:3]


# Of every text that is shown, its colour and the first opaque ground behind it.
_TEXTS = """() => [...document.querySelectorAll("body *")].filter(own =>
  [...own.childNodes].some(node => node.nodeType === 3 && node.data.trim()) &&
  own.getClientRects().length && !own.closest(".unseen, script, style, noscript")
).map(own => {
  const style = getComputedStyle(own);
  let behind = own;
  const ground = () => getComputedStyle(behind).backgroundColor;
  while (/, 0\\)|transparent/.test(ground())) behind = behind.parentElement;
  const color = own.namespaceURI.endsWith("svg") ? style.fill : style.color;
  return [own.textContent, color, ground()];
})"""


def _luminance(color):
    shares = np.array(rgb(color)) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def assert_contrast(page):
    """Every text stands out as WCAG's level AA asks; returns how many there are."""
    texts = page.evaluate(_TEXTS)
    for text, color, ground in texts:
        lighter, darker = sorted([_luminance(color), _luminance(ground)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, color, ground)
    return len(texts)

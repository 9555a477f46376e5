// The page: what the reader has chosen, the controls that change it, and what is told and drawn of it.

const SIDES = ["left", "right"];
const KINDS = { uniform: "equal width", quantile: "equal mass" };
const $ = (id) => document.getElementById(id);

const data = JSON.parse($("data").textContent);
const edges = edgesOf(data);
const methods = await unpack(data);
const names = data.rows.map((row) => row.name);
// Where an event is -1 it is that the most probable class is right; else the class of this index.
const state = {
  left: Math.max(names.indexOf("uncalibrated"), 0),
  right: names[0] === "uncalibrated" ? Math.min(1, names.length - 1) : 0,
  event: -1,
  nBins: data.counts.includes(data.nBins) ? data.nBins : data.counts.at(-1),
  strategy: "uniform",
  threshold: 0.9,
  bin: null,
};

const digits = (value, n) => (value === null ? "∞" : value.toFixed(n));
// An edge of a bin; of classes that are hardly ever probable most are tiny.
const edgeText = (value) => (value > 0 && value < 0.0005 ? value.toExponential(1) : digits(value, 4));
const tell = (value, text) => make("data", { value }, text);
const tellPercent = (value, n = 2) => tell(value, digits(100 * value, n));
const plural = (n, word, words = `${word}s`) => `${n.toLocaleString("en")} ${n === 1 ? word : words}`;
const points = (value) => digits(Math.abs(100 * value), 2);

const isTop = () => state.event < 0;
const seriesOf = (method) => methods[method][state.event + 1];
const tableFor = (series, strategy = state.strategy, top = isTop()) => tableOf(series, edges, state.nBins, strategy, top);
const errorName = () => (isTop() && state.strategy === "quantile" ? "AECE" : "ECE");
const className = () => data.classNames[state.event];

// ---- the head of the page

function showLead() {
  const [best, ...others] = data.rows;
  const tied = others.filter((row) => row.tied).length;
  const own = methods[names.indexOf("uncalibrated")];
  const parts = [];
  if (own) {
    const { accuracy, confidence } = errorsOf(tableOf(own[0], edges, data.counts[0], "uniform", true), own[0], data, "uniform");
    const gap = confidence - accuracy;
    parts.push(
      `Uncalibrated, the classifier is right on ${digits(100 * accuracy, 1)} % of the test samples and says ${digits(100 * confidence, 1)} % on average: `,
      make("strong", {}, `${gap > 0 ? "over" : "under"}-confident by ${digits(Math.abs(100 * gap), 1)} points. `),
    );
  }
  const company = ["none of the others is", "one other is"][tied] ?? `${tied} others are`;
  parts.push(make("strong", {}, best.name), ` has the lowest NLL, ${digits(best.nll, 4)}; ${company} tied with it.`);
  $("lead").replaceChildren(...parts);
  const facts = { "test samples": data.nSamples, classes: data.nClasses, calibrators: data.rows.length - (own ? 1 : 0) };
  $("facts").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value.toLocaleString("en")))),
  );
}

// ---- reliability diagrams

function frameOf(side) {
  const plot = make("div", { class: "plot" });
  const handle = make("div", { class: "handle", role: "slider", tabindex: 0, "aria-label": `Bin of the ${side} diagram`, "aria-valuemin": 1 });
  const caption = make("figcaption");
  const readout = make("p", { class: "readout" });
  const table = make("table");
  const details = make("details", {}, make("summary", {}, "The numbers, bin by bin"), make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Bins of the ${side} diagram` }, table));
  $(`${side}-figure`).append(caption, make("div", { class: "stage" }, plot, handle), readout, details);
  handle.addEventListener("keydown", (event) => moveBin(event));
  handle.addEventListener("focus", () => state.bin === null && setBin(firstHeld(side)));
  for (const kind of ["pointermove", "pointerdown"]) handle.addEventListener(kind, (event) => setBin(binAt(side, event)));
  handle.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && document.activeElement !== handle && setBin(null));
  return { plot, handle, caption, readout, table, bins: [] };
}

const frames = Object.fromEntries(SIDES.map((side) => [side, frameOf(side)]));

function firstHeld(side) {
  const { bins } = frames[side];
  return bins.reduce((most, bin, k) => (bin.count > bins[most].count ? k : most), 0);
}

function binAt(side, event) {
  const { bins, plot } = frames[side];
  const box = plot.getBoundingClientRect();
  const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
  const found = bins.findIndex((bin) => bin.count > 0 && share > bin.lower && share <= bin.upper);
  if (found >= 0) return found;
  // Of bins of equal mass the edges are confidences: beyond the outer ones there is nothing.
  const k = bins.findIndex((bin) => share <= bin.upper);
  return k < 0 ? bins.length - 1 : k;
}

function moveBin(event) {
  const last = state.nBins - 1;
  const step = ARROW_STEPS[event.key];
  const targets = { Home: 0, End: last, Escape: null };
  if (step === undefined && !(event.key in targets)) return;
  event.preventDefault();
  setBin(step === undefined ? targets[event.key] : Math.min(Math.max((state.bin ?? 0) + step, 0), last));
}

function setBin(bin) {
  state.bin = bin;
  SIDES.forEach(showBin);
}

function showBin(side) {
  const frame = frames[side];
  const bin = state.bin === null ? null : frame.bins[state.bin];
  markBin(frame.plot.querySelector("svg"), frame.plot.clientWidth, bin);
  frame.readout.replaceChildren(...(bin ? wordsOf(bin) : ["Point at a bar, or focus the diagram and use the arrow keys."]));
  frame.handle.setAttribute("aria-valuemax", state.nBins);
  frame.handle.setAttribute("aria-valuenow", (state.bin ?? 0) + 1);
  frame.handle.setAttribute("aria-valuetext", bin ? frame.readout.textContent : "no bin chosen");
}

function wordsOf(bin) {
  const range = make("strong", {}, `(${edgeText(bin.lower)}, ${edgeText(bin.upper)}]`);
  if (bin.count === 0) return [range, " holds no samples."];
  const gap = bin.accuracy - bin.confidence;
  const hits = isTop() ? "right" : `of class ${className()}`;
  return [
    range,
    ` ${plural(bin.count, "sample")}, `,
    tell(bin.hits, bin.hits.toLocaleString("en")),
    ` ${hits}: `,
    tellPercent(bin.accuracy),
    " % [",
    tellPercent(bin.low),
    ", ",
    tellPercent(bin.high),
    "], mean confidence ",
    tellPercent(bin.confidence),
    ` %; ${gap < 0 ? "over" : "under"}-confident by ${points(gap)} points`,
    bin.low <= bin.confidence && bin.confidence <= bin.high ? ", within the interval." : ".",
    bin.spared ? " The least confident sample counts as calibrated." : "",
  ];
}

function showDiagram(side) {
  const frame = frames[side];
  const series = seriesOf(state[side]);
  const bins = tableFor(series);
  const histogram = tableFor(series, "uniform");
  const errors = errorsOf(bins, series, data, state.strategy);
  frame.bins = bins;
  frame.caption.replaceChildren(...captionOf(data.rows[state[side]], errors));
  const words = {
    x: isTop() ? "confidence" : `probability of class ${className()}`,
    y: isTop() ? "accuracy" : "share of the class",
    label:
      `Reliability diagram of ${names[state[side]]}: ${state.nBins} bins of ${KINDS[state.strategy]}, ${errorName()} ` +
      `${digits(100 * errors.expected, 2)} %, accuracy ${digits(100 * errors.accuracy, 2)} %, mean confidence ` +
      `${digits(100 * errors.confidence, 2)} %. The numbers are in a table below.`,
  };
  frame.plot.replaceChildren(reliabilityDiagram(frame.plot.clientWidth, bins, histogram, errors, words));
  fillBinTable(frame.table, bins, side);
  showBin(side);
}

function captionOf(row, errors) {
  const within = errors.expected <= errors.floorQuantile;
  const rank = row.name === names[0] ? "lowest NLL" : row.tied ? "tied with the lowest NLL" : null;
  return [
    make("span", { class: "name" }, row.name),
    rank && make("span", { class: "tag" }, rank),
    make("span", { class: "headline" }, `${errorName()} `, tellPercent(errors.expected), " %"),
    make(
      "span",
      { class: "note" },
      "noise floor ",
      tellPercent(errors.floor),
      " %, 95 %: ",
      tellPercent(errors.floorQuantile),
      " % — ",
      make("strong", { class: within ? "fine" : "bad" }, within ? "✓ within the floor" : "▲ above the floor"),
    ),
    make(
      "span",
      { class: "note" },
      isTop() ? "accuracy " : "share ",
      tellPercent(errors.accuracy),
      " % (solid line), mean confidence ",
      tellPercent(errors.confidence),
      " % (dashed), largest gap ",
      tellPercent(errors.maximum),
      " %",
    ),
  ].filter(Boolean);
}

function fillBinTable(table, bins, side) {
  const heads = ["bin", "samples", isTop() ? "right" : "of class", "confidence %", isTop() ? "accuracy %" : "share %", "95 % interval", "gap, points"];
  const rows = bins.map((bin) => {
    const range = make("th", { scope: "row" }, "(", tell(bin.lower, edgeText(bin.lower)), ", ", tell(bin.upper, edgeText(bin.upper)), "]");
    const counts = [bin.count, bin.hits].map((value) => make("td", {}, tell(value, value.toLocaleString("en"))));
    if (bin.count === 0) return make("tr", {}, range, counts, Array.from({ length: 4 }, () => make("td", {}, "–")));
    const cells = [tellPercent(bin.confidence), tellPercent(bin.accuracy), [tellPercent(bin.low), "–", tellPercent(bin.high)], tellPercent(bin.accuracy - bin.confidence)];
    return make("tr", {}, range, counts, cells.map((cell) => make("td", {}, cell)));
  });
  table.replaceChildren(
    make("caption", { class: "unseen" }, `Bins of ${names[state[side]]}`),
    make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, rows),
  );
}

// ---- every class

function showClasses() {
  if (data.classNames.length === 0) {
    $("classes").hidden = true;
    return;
  }
  const errors = data.classNames.map((_, k) =>
    SIDES.map((side) => {
      const series = methods[state[side]][k + 1];
      return errorsOf(tableFor(series, state.strategy, false), series, data, state.strategy);
    }),
  );
  const most = Math.max(...errors.flat().flatMap((own) => [own.expected, own.floorQuantile]));
  $("class-list").replaceChildren(...data.classNames.map((name, k) => classButton(name, k, errors[k], most)));
  $("classes-note").replaceChildren(...classesNote(errors));
}

function classButton(name, k, errors, most) {
  const values = errors.map((own) => tellPercent(own.expected));
  const button = make(
    "button",
    { type: "button", "aria-pressed": String(state.event === k), "data-class": k },
    make("span", { class: "class-name" }, name),
    make("span", {}, values[0], " → ", values[1], " %"),
    classMark(errors, most),
  );
  button.addEventListener("click", () => {
    choose({ event: state.event === k ? -1 : k });
    $("class-list").querySelector(`[data-class="${k}"]`).focus();
  });
  return button;
}

function classesNote(errors) {
  const all = data.classNames.length === data.nClasses;
  const [left, right] = [0, 1].map((side) => sum(errors.map((own) => own[side].expected)) / errors.length);
  return [
    `Calibration error of each class’s own probability, ${state.nBins} bins of ${KINDS[state.strategy]}: above `,
    make("strong", { class: "first-name" }, names[state.left]),
    ", below ",
    make("strong", { class: "second-name" }, names[state.right]),
    "; the tick is the 95 % quantile of the noise floor. ",
    all ? "Mean over the classes, SCE: " : "Mean over these classes: ",
    tellPercent(left, 3),
    " → ",
    tellPercent(right, 3),
    " %. Choose a class to see its diagrams above.",
    all ? "" : ` The ${data.classNames.length} most frequent of ${data.nClasses} classes are on this page.`,
  ];
}

// ---- threshold

const thresholdPoints = methods.map(() => null);

function pointsOf(method) {
  thresholdPoints[method] ??= data.thresholds.map((threshold) => ({ threshold, ...acceptedOf(methods[method][0], edges, threshold) }));
  return thresholdPoints[method];
}

function showThreshold() {
  const { threshold } = state;
  for (const side of SIDES) {
    const figure = $(`${side}-cut`);
    const own = acceptedOf(methods[state[side]][0], edges, threshold);
    const label = `Errors of ${names[state[side]]} among accepted answers, over the threshold. Above ${threshold} it accepts ${digits(100 * own.coverage, 2)} %, with ${own.observed} errors, ${digits(own.expected, 1)} expected.`;
    const caption = make("figcaption", {}, make("span", { class: "name" }, names[state[side]]), make("span", { class: "note" }, acceptedWords(own)));
    const plot = make("div", { class: "plot" });
    figure.replaceChildren(caption, plot);
    plot.append(thresholdDiagram(plot.clientWidth, pointsOf(state[side]), threshold, { label }));
  }
  showThresholdTable(threshold);
}

function acceptedWords(own) {
  if (own.count === 0) return ["accepts nothing"];
  return [
    "accepts ",
    tellPercent(own.coverage),
    " %, ",
    make("strong", {}, tell(own.observed, own.observed.toLocaleString("en")), ` ${own.observed === 1 ? "error" : "errors"} for `, tell(own.expected, digits(own.expected, 1)), " expected"),
  ];
}

function showThresholdTable(threshold) {
  const heads = ["calibrator", "accepted", "coverage %", "accuracy % [95 %]", "errors observed", "errors expected", "promise"];
  const rows = data.rows.map((row, k) => {
    const own = acceptedOf(methods[k][0], edges, threshold);
    return make("tr", { class: rowClass(k) }, make("th", { scope: "row" }, row.name), thresholdCells(own).map((cell) => make("td", {}, cell)));
  });
  const caption = $("cut-caption");
  caption.replaceChildren(`Had each answered only above a confidence of ${threshold}`);
  fillTable($("cut-table"), heads, rows);
}

function thresholdCells(own) {
  const counts = [tell(own.count, own.count.toLocaleString("en")), tellPercent(own.coverage)];
  if (own.count === 0) return [...counts, "–", "–", "–", "nothing accepted"];
  const accuracy = [tellPercent(own.accuracy), " [", tellPercent(own.low), ", ", tellPercent(own.high), "]"];
  return [...counts, accuracy, tell(own.observed, own.observed.toLocaleString("en")), tell(own.expected, digits(own.expected, 1)), promise(own)];
}

function promise({ low, high, confidence, accuracy }) {
  if (low <= confidence && confidence <= high) return make("span", { class: "fine" }, "✓ as promised");
  return accuracy < confidence ? make("strong", { class: "bad" }, "▲ more errors") : make("span", { class: "bad" }, "▼ fewer errors");
}

const rowClass = (k) => SIDES.filter((side) => state[side] === k).map((side) => `is-${side}`).join(" ") || null;

function fillTable(table, heads, rows) {
  table.tHead.replaceChildren(make("tr", {}, heads.map((head) => (typeof head === "string" ? make("th", { scope: "col" }, head) : head))));
  table.tBodies[0].replaceChildren(...rows);
}

// ---- scores

const most = Math.max(...data.rows.map((row) => Math.max(row.ece_high, row.ece_floor_quantile)));
const COLUMNS = [
  { head: "calibrator", of: (row) => row.name, cell: (row) => row.name },
  { head: "NLL", of: (row) => row.nll, cell: (row) => tell(row.nll, digits(row.nll, 4)) },
  {
    head: "above the best ± s.e.",
    of: (row) => row.nll_difference,
    cell: (row) => (row.name === names[0] ? make("strong", {}, "best") : [tell(row.nll_difference, digits(row.nll_difference, 4)), " ± ", tell(row.nll_difference_se, digits(row.nll_difference_se, 4)), row.tied ? make("strong", {}, " tied") : ""]),
  },
  { head: "accuracy %", down: true, of: (row) => row.accuracy, cell: (row) => tellPercent(row.accuracy) },
  { head: "Brier", of: (row) => row.brier, cell: (row) => tell(row.brier, digits(row.brier, 4)) },
  { head: "ECE % [95 %]", of: (row) => row.ece, cell: (row) => [tellPercent(row.ece), " [", tellPercent(row.ece_low), ", ", tellPercent(row.ece_high), "]"] },
  { head: "ECE on its floor", of: (row) => row.ece - row.ece_floor_quantile, cell: (row) => errorMark(row, most) },
  { head: "floor % (95 %)", of: (row) => row.ece_floor, cell: (row) => [tellPercent(row.ece_floor), " (", tellPercent(row.ece_floor_quantile), ")"] },
  { head: "AECE %", of: (row) => row.aece, cell: (row) => tellPercent(row.aece) },
  { head: "SCE %", of: (row) => row.sce, cell: (row) => tellPercent(row.sce, 3) },
  { head: "fit, s", of: (row) => row.fit_time, cell: (row) => tell(row.fit_time, digits(row.fit_time, 2)) },
  { head: "predict, s", of: (row) => row.predict_time, cell: (row) => tell(row.predict_time, digits(row.predict_time, 2)) },
];
const sorting = { column: 1, down: false };

function showScores() {
  const { of } = COLUMNS[sorting.column];
  const order = data.rows.map((_, k) => k).sort((a, b) => {
    const [first, second] = [of(data.rows[a]), of(data.rows[b])];
    return (first < second ? -1 : first > second ? 1 : 0) * (sorting.down ? -1 : 1);
  });
  const rows = order.map((k) => {
    const [name, ...cells] = COLUMNS.map((column) => column.cell(data.rows[k]));
    return make("tr", { class: rowClass(k) }, make("th", { scope: "row" }, name), cells.map((cell) => make("td", {}, cell)));
  });
  fillTable($("score-table"), COLUMNS.map(sortHead), rows);
}

function sortHead(column, k) {
  const current = sorting.column === k;
  const arrow = make("span", { class: "arrow", "aria-hidden": "true" }, current ? (sorting.down ? "▼" : "▲") : "↕");
  const button = make("button", { type: "button" }, column.head, arrow);
  button.addEventListener("click", () => {
    sorting.down = current ? !sorting.down : Boolean(column.down);
    sorting.column = k;
    showScores();
    $("score-table").tHead.rows[0].cells[k].firstChild.focus();
    announce(`Sorted by ${column.head}, ${sorting.down ? "descending" : "ascending"}`);
  });
  return make("th", { scope: "col", "aria-sort": current ? (sorting.down ? "descending" : "ascending") : "none" }, button);
}

function showNotes() {
  const [calibration, test] = data.networkTimes;
  $("scores-caption").replaceChildren("Scores on the test set; a heading sorts by its column");
  $("scores-note").replaceChildren(
    `The NLL decides. “Tied” is not told from the best by a paired test (Holm-corrected, level ${data.alpha}). The picture shows the ECE ` +
      `(${data.nBins} bins) as a diamond, its 95 % interval as a line, and the noise floor as a grey bar: a diamond on the bar says nothing.`,
  );
  $("page-note").replaceChildren(
    `This file holds sums over the ${data.nSamples.toLocaleString("en")} test samples, neither the samples nor their predictions, and loads nothing. ` +
      `Times of output maps come on top of the network’s, ${digits(calibration, 2)} s for the calibration and ${digits(test, 2)} s for the test set. ` +
      `The number of bins in the table of scores is ${data.nBins}.`,
  );
}

// ---- perturbation

function showPerturbations() {
  const cards = data.perturbations.map((own) =>
    make("article", { class: "card" }, make("h3", {}, own.name), make("p", {}, verdictOf(own)), make("div", { class: "panels" }, own.panels.map(panelOf))),
  );
  const none = make("p", { class: "card" }, "No calibrator of this comparison perturbs the inputs.");
  $("perturbations").replaceChildren(...(cards.length ? cards : [none]));
}

function panelOf(panel) {
  return make("figure", {}, make("figcaption", {}, panel.title.replace("\n", ", ")), PANELS[panel.kind](panel));
}

function verdictOf({ accepted, verdict, temperature }) {
  const told = verdict && [" Held-out NLL ", tell(verdict.difference, signed(verdict.difference)), " ± ", tell(verdict.standard_error, digits(verdict.standard_error, 4)), " against temperature scaling’s, p = ", tell(verdict.p_value, Number(verdict.p_value.toPrecision(2)).toString()), "."];
  const scale = temperature === null ? "" : [" T = ", tell(temperature, digits(temperature, 4)), "."];
  if (accepted) return [make("strong", { class: "fine" }, "✓ Kept."), told ?? " It wasn’t asked to prove itself.", scale];
  if (verdict === null) return [make("strong", {}, "No perturbation."), " None was asked for.", scale];
  if (verdict.standard_error === 0) return [make("strong", {}, "No perturbation."), " None promised anything on the folds, or there were fewer than 100 samples; this is temperature scaling.", scale];
  return [make("strong", {}, "Refused."), " The perturbation didn’t prove itself on held-out samples; this is temperature scaling.", told, scale];
}

const signed = (value) => `${value < 0 ? "−" : "+"}${digits(Math.abs(value), 4)}`;

// ---- controls

let spoken;
function announce(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => $("live").replaceChildren(text), 400);
}

function announceErrors() {
  const told = SIDES.map((side) => {
    const { expected } = errorsOf(frames[side].bins, seriesOf(state[side]), data, state.strategy);
    return `${names[state[side]]}: ${errorName()} ${digits(100 * expected, 2)} %`;
  });
  announce(`${told.join("; ")}, ${plural(state.nBins, "bin")} of ${KINDS[state.strategy]}`);
}

function choose(changes) {
  Object.assign(state, changes, { bin: null });
  syncControls();
  showReliability();
  if ("left" in changes || "right" in changes) {
    showThreshold();
    showScores();
  }
  announceErrors();
}

function chooseThreshold(threshold) {
  state.threshold = threshold;
  syncControls();
  showThreshold();
  const own = SIDES.map((side) => `${names[state[side]]}: ${$(`${side}-cut`).querySelector(".note").textContent}`);
  announce(`Above ${threshold}: ${own.join("; ")}`);
}

function syncControls() {
  for (const name of [...SIDES, "event"]) $(name).value = state[name];
  $("bins").value = data.counts.indexOf(state.nBins);
  $("bins-value").replaceChildren(state.nBins.toString());
  $("bins").setAttribute("aria-valuetext", plural(state.nBins, "bin"));
  $("cut").value = data.thresholds.indexOf(state.threshold);
  $("cut-value").replaceChildren(state.threshold.toString());
  $("cut").setAttribute("aria-valuetext", `a confidence of ${state.threshold}`);
  $("legend-accuracy").replaceChildren(isTop() ? "accuracy" : "share of the class");
}

function buildControls() {
  for (const side of SIDES) {
    $(side).replaceChildren(...names.map((name, k) => make("option", { value: k }, name)));
    $(side).addEventListener("change", (event) => choose({ [side]: Number(event.target.value) }));
  }
  const classes = data.classNames.map((name, k) => make("option", { value: k }, name));
  $("event").replaceChildren(make("option", { value: -1 }, "most probable class"), ...(classes.length ? [make("optgroup", { label: "one class’s probability" }, classes)] : []));
  $("event").addEventListener("change", (event) => choose({ event: Number(event.target.value) }));
  $("bins").max = data.counts.length - 1;
  $("bins").addEventListener("input", (event) => choose({ nBins: data.counts[event.target.value] }));
  $("cut").max = data.thresholds.length - 1;
  $("cut").addEventListener("input", (event) => chooseThreshold(data.thresholds[event.target.value]));
  for (const radio of document.getElementsByName("strategy")) radio.addEventListener("change", (event) => choose({ strategy: event.target.value }));
  $("controls").addEventListener("submit", (event) => event.preventDefault());
}

function buildTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const label = () => $("theme").replaceChildren(current() === "dark" ? "☀ Light" : "☾ Dark");
  $("theme").addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();
}

function showReliability() {
  SIDES.forEach(showDiagram);
  showClasses();
}

function watchWidth() {
  let width = frames.left.plot.clientWidth;
  new ResizeObserver(() => {
    if (frames.left.plot.clientWidth === width) return;
    width = frames.left.plot.clientWidth;
    showReliability();
    showThreshold();
  }).observe(frames.left.plot);
}

buildTheme();
buildControls();
syncControls();
showLead();
showNotes();
showReliability();
showThreshold();
showScores();
showPerturbations();
watchWidth();
document.documentElement.dataset.ready = "";

// What each calibrator would have done at a threshold: of confidence or, of two classes, of the event's probability.

const CUT = acts
  ? { does: "acts on", done: "acted on", noun: "event", of: "probability", more: "▼ more events", fewer: "▲ fewer events" }
  : { does: "accepts", done: "accepted", noun: "error", of: "confidence", more: "▼ fewer errors", fewer: "▲ more errors" };
// Of the samples above a threshold events are counted, or errors.
const countedOf = (own) => (acts ? [own.hits, own.total] : [own.observed, own.expected]);
const rateOf = (share) => (acts ? share : 1 - share);
const thresholdPoints = methods.map(() => null);

function pointsOf(method) {
  thresholdPoints[method] ??= data.thresholds.map((threshold) => ({ threshold, ...cutOf(method, threshold) }));
  return thresholdPoints[method];
}

function cutOf(method, threshold) {
  const series = cutSeries(method);
  const own = acceptedOf(series, edges, threshold);
  return { ...own, benefit: netBenefitOf(own, series, threshold) };
}

function showThreshold() {
  const { threshold } = state;
  for (const side of SIDES) {
    const figure = $(`${side}-cut`);
    const own = cutOf(state[side], threshold);
    const [seen, expected] = countedOf(own);
    const label =
      `${CUT.noun}s of ${names[state[side]]} among what it ${CUT.does}, over the threshold. Above ${threshold} it ` +
      `${CUT.does} ${digits(100 * own.coverage, 2)} %, with ${seen} ${CUT.noun}s, ${digits(expected, 1)} expected.`;
    const caption = make(
      "figcaption",
      {},
      make("span", { class: "name" }, names[state[side]]),
      make("span", { class: "note" }, cutWords(own)),
    );
    const plot = make("div", { class: "plot" });
    figure.replaceChildren(caption, plot);
    plot.append(thresholdDiagram(plot.clientWidth, pointsOf(state[side]), threshold, { label, x: axisWords() }));
    if (acts) showDecision(side, own);
    else showRisk(side, own);
  }
  showThresholdTable(threshold);
}

const axisWords = () => `threshold of ${acts ? `P(${data.classNames[data.event]})` : "confidence"}`;

function cutWords(own) {
  if (own.count === 0) return [`${CUT.does} nothing`];
  const kept = own.low <= own.confidence && own.confidence <= own.high;
  const [seen, expected] = countedOf(own);
  return [
    `${CUT.does} `,
    tellPercent(own.coverage),
    " %, ",
    make(
      kept ? "span" : "strong",
      {},
      tellCount(seen),
      ` ${seen === 1 ? CUT.noun : `${CUT.noun}s`} for `,
      tell(expected, digits(expected, 1)),
      " expected",
    ),
  ];
}

function showThresholdTable(threshold) {
  const heads = [
    "calibrator",
    CUT.done,
    acts ? "share %" : "coverage %",
    acts ? "precision % [95 %]" : "accuracy % [95 %]",
    `${CUT.noun}s observed`,
    `${CUT.noun}s expected`,
    "promise",
    ...(acts ? ["sensitivity %", "net benefit %"] : []),
  ];
  const rows = data.rows.map((row, k) =>
    rowOf(breakable(row.name), thresholdCells(cutOf(k, threshold)), { class: rowClass(k) }),
  );
  const caption = acts
    ? `Had one acted above ${axisWords().slice("threshold of ".length)} = ${threshold}`
    : `Had each answered only above a confidence of ${threshold}`;
  $("cut-caption").replaceChildren(caption);
  fillTable($("cut-table"), heads, rows);
}

function thresholdCells(own) {
  const counts = [tellCount(own.count), tellPercent(own.coverage)];
  const [seen, expected] = countedOf(own);
  const decided = acts ? [tellPercent(own.hits / (eventShare * data.nSamples)), tellPercent(own.benefit)] : [];
  if (own.count === 0) return [...counts, "–", "–", "–", `nothing ${CUT.done}`, ...decided];
  const accuracy = [tellPercent(own.accuracy), " [", tellPercent(own.low), ", ", tellPercent(own.high), "]"];
  return [...counts, accuracy, tellCount(seen), tell(expected, digits(expected, 1)), promise(own), ...decided];
}

function promise({ low, high, confidence, accuracy }) {
  if (low <= confidence && confidence <= high) return make("span", { class: "fine" }, "✓ as promised");
  return accuracy < confidence
    ? make("strong", { class: "bad" }, CUT.fewer)
    : make("span", { class: "bad" }, CUT.more);
}

const rowClass = (k) =>
  SIDES.filter((side) => state[side] === k)
    .map((side) => `is-${side}`)
    .join(" ") || null;

function fillTable(table, heads, rows) {
  table.tHead.replaceChildren(headOf(heads));
  table.tBodies[0].replaceChildren(...rows);
}

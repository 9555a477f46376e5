// What each calibrator would have done at a threshold of confidence.

const thresholdPoints = methods.map(() => null);

function pointsOf(method) {
  thresholdPoints[method] ??= data.thresholds.map((threshold) => ({
    threshold,
    ...acceptedOf(methods[method][0], edges, threshold),
  }));
  return thresholdPoints[method];
}

function showThreshold() {
  const { threshold } = state;
  for (const side of SIDES) {
    const figure = $(`${side}-cut`);
    const own = acceptedOf(methods[state[side]][0], edges, threshold);
    const label =
      `Errors of ${names[state[side]]} among accepted answers, over the threshold. Above ${threshold} it accepts ` +
      `${digits(100 * own.coverage, 2)} %, with ${own.observed} errors, ${digits(own.expected, 1)} expected.`;
    const caption = make(
      "figcaption",
      {},
      make("span", { class: "name" }, names[state[side]]),
      make("span", { class: "note" }, acceptedWords(own)),
    );
    const plot = make("div", { class: "plot" });
    figure.replaceChildren(caption, plot);
    plot.append(thresholdDiagram(plot.clientWidth, pointsOf(state[side]), threshold, { label }));
    showRisk(side, own);
  }
  showThresholdTable(threshold);
}

function acceptedWords(own) {
  if (own.count === 0) return ["accepts nothing"];
  const kept = own.low <= own.confidence && own.confidence <= own.high;
  return [
    "accepts ",
    tellPercent(own.coverage),
    " %, ",
    make(
      kept ? "span" : "strong",
      {},
      tellCount(own.observed),
      ` ${own.observed === 1 ? "error" : "errors"} for `,
      tell(own.expected, digits(own.expected, 1)),
      " expected",
    ),
  ];
}

function showThresholdTable(threshold) {
  const heads = [
    "calibrator",
    "accepted",
    "coverage %",
    "accuracy % [95 %]",
    "errors observed",
    "errors expected",
    "promise",
  ];
  const rows = data.rows.map((row, k) => {
    const own = acceptedOf(methods[k][0], edges, threshold);
    return rowOf(breakable(row.name), thresholdCells(own), { class: rowClass(k) });
  });
  $("cut-caption").replaceChildren(`Had each answered only above a confidence of ${threshold}`);
  fillTable($("cut-table"), heads, rows);
}

function thresholdCells(own) {
  const counts = [tellCount(own.count), tellPercent(own.coverage)];
  if (own.count === 0) return [...counts, "–", "–", "–", "nothing accepted"];
  const accuracy = [tellPercent(own.accuracy), " [", tellPercent(own.low), ", ", tellPercent(own.high), "]"];
  return [...counts, accuracy, tellCount(own.observed), tell(own.expected, digits(own.expected, 1)), promise(own)];
}

function promise({ low, high, confidence, accuracy }) {
  if (low <= confidence && confidence <= high) return make("span", { class: "fine" }, "✓ as promised");
  return accuracy < confidence
    ? make("strong", { class: "bad" }, "▲ more errors")
    : make("span", { class: "bad" }, "▼ fewer errors");
}

const rowClass = (k) =>
  SIDES.filter((side) => state[side] === k)
    .map((side) => `is-${side}`)
    .join(" ") || null;

function fillTable(table, heads, rows) {
  table.tHead.replaceChildren(headOf(heads));
  table.tBodies[0].replaceChildren(...rows);
}

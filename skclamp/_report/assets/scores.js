// The table of scores, sorted by the column of the reader's choice, and the notes to it.

const most = Math.max(...data.rows.map((row) => Math.max(row.ece_high, row.ece_floor_quantile)));
// Whether none is tied with the best.
const alone = data.rows.filter((row) => row.tied).length === 1;
const COLUMNS = [
  { head: "calibrator", of: (row) => row.name, cell: (row) => breakable(row.name) },
  { head: "NLL", of: (row) => row.nll, cell: (row) => tell(row.nll, digits(row.nll, 4)) },
  {
    head: "above the best ± s.e.",
    of: (row) => row.nll_difference,
    cell: (row) =>
      row.name === names[0]
        ? make(alone ? "strong" : "span", {}, alone ? "best" : "lowest")
        : [
            tell(row.nll_difference, digits(row.nll_difference, 4)),
            " ± ",
            tell(row.nll_difference_se, digits(row.nll_difference_se, 4)),
            row.tied ? " tied" : "",
          ],
  },
  { head: "accuracy %", down: true, of: (row) => row.accuracy, cell: (row) => tellPercent(row.accuracy) },
  d2Column("D² NLL", "d2_log_loss"),
  { head: "Brier", of: (row) => row.brier, cell: (row) => tell(row.brier, digits(row.brier, 4)) },
  d2Column("D² Brier", "d2_brier"),
  {
    head: `${scoreName} % [95 %]`,
    of: (row) => row.ece,
    cell: (row) => [tellPercent(row.ece), " [", tellPercent(row.ece_low), ", ", tellPercent(row.ece_high), "]"],
  },
  { head: "ECE on its floor", of: (row) => row.ece - row.ece_floor_quantile, cell: (row) => errorMark(row, most) },
  {
    head: "floor % (95 %)",
    of: (row) => row.ece_floor,
    cell: (row) => [tellPercent(row.ece_floor), " (", tellPercent(row.ece_floor_quantile), ")"],
  },
  { head: "AECE %", of: (row) => row.aece, cell: (row) => tellPercent(row.aece) },
  { head: data.areLabels ? "mean ECE of labels %" : "SCE %", of: (row) => row.sce, cell: (row) => tellPercent(row.sce, 3) },
  ...[
    ["slope", "slope"],
    ["intercept", "intercept"],
  ].flatMap(([head, name]) =>
    data.rows.every((row) => row[name] === null)
      ? []
      : { head, of: (row) => row[name] ?? Infinity, cell: (row) => (row[name] === null ? "–" : tell(row[name], digits(row[name], 2))) },
  ),
  {
    head: "AUROC %",
    down: true,
    of: (row) => row.auroc ?? -1,
    cell: (row) => (row.auroc === null ? "–" : tellPercent(row.auroc)),
  },
  {
    head: "AURC % [95 %]",
    of: (row) => row.aurc,
    cell: (row) => [tellPercent(row.aurc), " [", tellPercent(row.aurc_low), ", ", tellPercent(row.aurc_high), "]"],
  },
  {
    head: "fit, s",
    of: (row) => row.fit_time ?? -1,
    cell: (row) => (row.fit_time === null ? "before" : tell(row.fit_time, digits(row.fit_time, 2))),
  },
  {
    head: "predict, s",
    of: (row) => row.predict_time,
    cell: (row) => tell(row.predict_time, digits(row.predict_time, 2)),
  },
];

function d2Column(head, name) {
  const cell = (row) => (row[name] === null ? "–" : tell(row[name], digits(row[name], 4)));
  return { head, down: true, of: (row) => row[name] ?? -Infinity, cell };
}

// Groups are for many.
const sorting = { column: 1, down: false, grouped: data.rows.length > 6 };

function showScores() {
  const { of } = COLUMNS[sorting.column];
  const order = data.rows
    .map((_, k) => k)
    .sort((a, b) => {
      const [first, second] = [of(data.rows[a]), of(data.rows[b])];
      return (first < second ? -1 : first > second ? 1 : 0) * (sorting.down ? -1 : 1);
    });
  const groups = sorting.grouped ? groupsOf(order) : [[null, order]];
  const bodies = groups.map(([group, own]) => make("tbody", {}, group && groupHead(group), own.map(scoreRow)));
  $("score-table").replaceChildren(make("thead", {}, headOf(COLUMNS.map(sortHead))), ...bodies);
}

function scoreRow(k) {
  const [name, ...cells] = COLUMNS.map((column) => column.cell(data.rows[k]));
  return rowOf(name, cells, { class: rowClass(k) });
}

const groupHead = (group) =>
  make(
    "tr",
    { class: "group" },
    make("th", { scope: "rowgroup", colspan: COLUMNS.length }, make("span", {}, group)),
  );

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
  return make(
    "th",
    { scope: "col", "aria-sort": current ? (sorting.down ? "descending" : "ascending") : "none" },
    button,
  );
}

function sampleWords() {
  const nImages = Object.keys(data.thumbnails?.before ?? {}).length;
  return `a few answers of each calibrator with their rows and labels, ${plural(nImages, "small image")}`;
}

function showNotes() {
  const [calibration, test] = data.networkTimes;
  $("scores-caption").replaceChildren("Scores on the test set; a heading sorts by its column");
  $("scores-note").replaceChildren(
    `The NLL decides. “Tied” is not told from the best by Tukey’s range test of the paired losses (level ${data.alpha}). ` +
      `The picture shows the ${scoreName} (${data.nBins} bins) as a diamond, its 95 % interval as a line, and the ` +
      "noise floor as a grey bar: a diamond on the bar says nothing." +
      (data.areLabels
        ? " Accuracy, NLL, Brier score and D² are means over labels, ECE and AECE are of all labels’ probabilities together."
        : ""),
  );
  $("page-note").replaceChildren(
    (data.nPlaces ? `Rows are ${data.nPlaces.toLocaleString("en")} places of each test sample. ` : "") +
    (data.nGroups ? `Test samples are of ${data.nGroups.toLocaleString("en")} groups, each resampled as one. ` : "") +
    `This file holds sums over the ${data.nSamples.toLocaleString("en")} test samples, ` +
      `${data.samples ? sampleWords() : "neither the samples nor their predictions"}, and loads nothing. ` +
      `Times of output maps come on top of the classifier’s, ${digits(calibration, 2)} s for the ` +
      `calibration and ${digits(test, 2)} s for the test set. ` +
      `The number of bins in the table of scores is ${data.nBins}.`,
  );
}

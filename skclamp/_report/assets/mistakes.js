// Where a calibrator goes wrong: the wrong answers that it is surest of, and the classes with most of them.

function showMistakes() {
  const { wrong, classes } = data.answers[state.mistaken];
  $("separation").replaceChildren(...separationWords(data.rows[state.mistaken]));
  $("worst-caption").replaceChildren(`Worst ${data.areLabels ? "labels" : "classes"} of ${names[state.mistaken]}`);
  fillTable($("worst-table"), CLASS_HEADS, classes.map(classRow));
  $("wrong-caption").replaceChildren(
    wrong.length
      ? `${plural(wrong.length, "wrong answer")} of ${names[state.mistaken]}, given with most confidence`
      : `${names[state.mistaken]} gives no wrong answer`,
  );
  $("wrong-card").hidden = !data.samples;
  $("worst-card").hidden = classes.length === 0;
  $("wrong").replaceChildren(...(wrong.length === 0 ? [] : wrongOf(wrong)));
  showParts(data.parts[state.mistaken]);
}

const PART_HEADS = ["part", "samples", "NLL", "gain ± s.e.", `${scoreName} %`, "floor % (95 %)"];

function showParts(parts) {
  $("parts-card").hidden = parts.length === 0;
  const some = parts.length < data.nParts;
  const those = some ? `The ${parts.length} worst of ${data.nParts.toLocaleString("en")} parts` : "Parts";
  const left = `as ${names[state.mistaken]} leaves them, the worst first`;
  $("parts-caption").replaceChildren(`${those} of the test set, ${left}`);
  fillTable($("parts-table"), PART_HEADS, parts.map(partRow));
}

const tellKnown = (value, told) => (value === null ? "–" : told(value));

function partRow(own) {
  const nats = (value) => tell(value, digits(value, 4));
  return rowOf(String(own.part), [
    tellCount(own.n_samples),
    nats(own.nll),
    [nats(own.gain), " ± ", tellKnown(own.gain_se, nats)],
    tellPercent(own.ece),
    [tellKnown(own.ece_floor, tellPercent), " (", tellKnown(own.ece_floor_quantile, tellPercent), ")"],
  ]);
}

function wrongOf(wrong) {
  const pictured = data.thumbnails && !data.nPlaces && wrong.some(({ row }) => row in data.thumbnails.before);
  return [pictured ? wrongPictures(wrong) : wrongTable(wrong)];
}

function separationWords(row) {
  if (row.auroc === null) return ["Its answers are all right or all wrong: there is nothing to separate."];
  const told = [
    "A right answer has more confidence than a wrong one in ",
    tellPercent(row.auroc, 1),
    " % of all pairs (AUROC; 50 % is chance)",
  ];
  if (!uncalibrated || row === uncalibrated || uncalibrated.auroc === null) return [...told, "."];
  return [...told, "; uncalibrated in ", tellPercent(uncalibrated.auroc, 1), " %."];
}

const CLASS_HEADS = [
  data.areLabels ? "label" : "class",
  data.nPlaces ? "places" : "samples",
  "accuracy % [95 %]",
  "mean confidence %",
  ...(data.areLabels ? [] : ["most often taken for"]),
];

function classRow(own) {
  const [low, high] = wilson(own.hits, own.count);
  const takenFor = data.areLabels ? [] : [[`${own.taken_for}, `, tell(own.times, `${own.times.toLocaleString("en")}×`)]];
  return rowOf(own.name, [
    tellCount(own.count),
    [tellPercent(own.hits / own.count, 1), " [", tellPercent(low, 1), ", ", tellPercent(high, 1), "]"],
    tellPercent(own.confidence, 1),
    ...takenFor,
  ]);
}

function wrongTable(wrong) {
  const rows = wrong.map(({ row, label, prediction, confidence }) =>
    rowOf(tell(row, row.toString()), [label, prediction, tellPercent(confidence)]),
  );
  const head = make("thead", {}, headOf(["row of the test set", "label", "prediction", "confidence %"]));
  const table = make("table", { "aria-labelledby": "wrong-caption" }, head, make("tbody", {}, rows));
  return make("div", { class: "scroll", role: "region", "aria-labelledby": "wrong-caption", tabindex: 0 }, table);
}

function wrongPictures(wrong) {
  return make(
    "ul",
    { class: "pictures" },
    wrong.map((own) =>
      make(
        "li",
        {},
        pictureOf(data.thumbnails.before[own.row], `Row ${own.row} of the test set, ${own.label}`),
        make(
          "div",
          {},
          make("span", { class: "said" }, own.prediction),
          make("span", {}, tellPercent(own.confidence), " %"),
          make("span", { class: "note" }, "is ", make("span", { class: "said" }, own.label)),
          make("span", { class: "note" }, "row ", tell(own.row, own.row.toString())),
        ),
      ),
    ),
  );
}

// A small image, or a blank where the page has none of that sample.
function pictureOf(png, alt) {
  if (!png) return make("span", { class: "blank" }, "no image kept");
  return make("img", { src: `data:image/png;base64,${png}`, alt });
}

// Test images as they are and behind a perturbation, with what the network said of them and what it says now.

function imagesOf(name) {
  const after = data.thumbnails?.after[name];
  if (!after) return [];
  const then = uncalibrated && data.answers[data.rows.indexOf(uncalibrated)].sampled;
  const now = data.answers[names.indexOf(name)].sampled;
  const figures = now.map((own, k) => beforeAndAfter(own, then?.[k], after[own.row]));
  const note = `Test images at equal distances, as they are and as the network sees them now. ${limitsWords()}`;
  return [make("p", { class: "note" }, note), make("div", { class: "images" }, figures)];
}

function limitsWords() {
  const { limits } = data.thumbnails;
  const [low, high] = limits[0];
  if (limits.every((own) => own[0] === low && own[1] === high))
    return `Drawn from ${short(low)} to ${short(high)}, what lies beyond is cut off.`;
  return "Each channel is drawn over its range in the images on this page, what lies beyond is cut off.";
}

function beforeAndAfter(own, then, png) {
  const before = pictureOf(data.thumbnails.before[own.row], `Row ${own.row}, ${own.label}, as it is`);
  const after = pictureOf(png, `Row ${own.row}, ${own.label}, perturbed`);
  return make(
    "figure",
    {},
    make("div", { class: "change" }, before, make("span", { class: "to", "aria-hidden": "true" }, "→"), after),
    make(
      "figcaption",
      {},
      make("span", { class: "said" }, own.label),
      then && make("span", { class: "note" }, "before: ", answerWords(then)),
      make("span", { class: "note" }, then ? "now: " : "", answerWords(own)),
    ),
  );
}

function answerWords({ label, prediction, confidence, right: share }) {
  // Of many places of an image nobody says each.
  if (share !== undefined) return make("span", {}, share === null ? "–" : [tellPercent(share, 1), " % right"]);
  const right = prediction === label;
  return make(
    "span",
    { class: right ? "fine" : "bad" },
    `${right ? "✓" : "✗"} ${prediction} `,
    // Of several labels together nobody says one.
    ...(confidence === null ? [] : [tellPercent(confidence, 0), " %"]),
  );
}

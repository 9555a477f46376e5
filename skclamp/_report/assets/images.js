// Test images as they are and behind a perturbation, with what the network said of them and what it says now.

function imagesOf(name) {
  const after = data.thumbnails?.after[name];
  if (!after) return [];
  const then = uncalibrated && data.answers[data.rows.indexOf(uncalibrated)].sampled;
  const now = data.answers[names.indexOf(name)].sampled;
  const figures = now.map((own, k) => beforeAndAfter(own, then?.[k], after[own.row]));
  const [low, high] = data.thumbnails.limits.map(short);
  const note =
    "Test images at equal distances, as they are and as the network sees them now. " +
    `Drawn from ${low} to ${high}, what lies beyond is cut off.`;
  return [make("p", { class: "note" }, note), make("div", { class: "images" }, figures)];
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
  // Of many labels, or places of an image, nobody says each.
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

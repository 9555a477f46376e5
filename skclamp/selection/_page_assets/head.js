// The head of the page: what the comparison says in a sentence, and how much it saw.

function showLead() {
  const [best, ...others] = data.rows;
  const tied = others.filter((row) => row.tied).length;
  const own = methods[names.indexOf("uncalibrated")];
  const parts = [];
  if (own) {
    const { accuracy, confidence } = errorsOf(
      tableOf(own[0], edges, data.counts[0], "uniform", true),
      own[0],
      data,
      "uniform",
    );
    const gap = confidence - accuracy;
    parts.push(
      `Uncalibrated, the classifier is right on ${digits(100 * accuracy, 1)} % of the test samples `,
      `and says ${digits(100 * confidence, 1)} % on average: `,
      make("strong", {}, `${gap > 0 ? "over" : "under"}-confident by ${digits(Math.abs(100 * gap), 1)} points. `),
    );
  }
  const company = ["none of the others is", "one other is"][tied] ?? `${tied} others are`;
  parts.push(make("strong", {}, best.name), ` has the lowest NLL, ${digits(best.nll, 4)}; ${company} tied with it.`);
  $("lead").replaceChildren(...parts);
  const facts = {
    "test samples": data.nSamples,
    classes: data.nClasses,
    calibrators: data.rows.length - (own ? 1 : 0),
  };
  $("facts").replaceChildren(
    ...Object.entries(facts).map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value.toLocaleString("en"))),
    ),
  );
}

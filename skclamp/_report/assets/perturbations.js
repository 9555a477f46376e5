// What neural clamping learned, and why it was kept or refused.

function showPerturbations() {
  const cards = data.perturbations.map((own) =>
    make(
      "article",
      { class: "card" },
      make("h3", {}, own.name),
      ...taughtOf(own),
      make("p", {}, verdictOf(own)),
      ...viewsOf(own),
      ...imagesOf(own.name),
      make("div", { class: "panels" }, own.panels.map(panelOf)),
    ),
  );
  const none = make("p", { class: "card" }, "No calibrator of this comparison perturbs the inputs.");
  $("perturbations").replaceChildren(...(cards.length ? cards : [none]));
}

function panelOf(panel) {
  return make("figure", {}, make("figcaption", {}, panel.title.replace("\n", ", ")), PANELS[panel.kind](panel));
}

const measured = (verdict, other) => [
  " Held-out NLL ",
  tell(verdict.difference, signed(verdict.difference)),
  " ± ",
  tell(verdict.standard_error, digits(verdict.standard_error, 4)),
  ` against ${other}, p = `,
  tell(verdict.p_value, Number(verdict.p_value.toPrecision(2)).toString()),
  ".",
];

function viewsOf({ viewsVerdict, nViews }) {
  if (viewsVerdict === null && nViews === 1) return [];
  const passes = nViews === 1 ? "One pass a prediction." : `${nViews} views a prediction.`;
  const told = viewsVerdict && viewsVerdict.standard_error > 0 ? measured(viewsVerdict, "one pass") : "";
  return [make("p", {}, make("strong", {}, passes), told)];
}

function taughtOf({ unlabelledReason, taught }) {
  if (unlabelledReason === null) return [];
  const about = taught ? "✓ Unlabelled samples. " : "Unlabelled samples. ";
  return [make("p", {}, make("strong", taught ? { class: "fine" } : {}, about), unlabelledReason)];
}

function verdictOf({ accepted, verdict, taught, temperature, nViews }) {
  const told = verdict && measured(verdict, taught ? "that of what these taught" : "temperature scaling’s");
  const plain = nViews > 1 ? "inputs stay as they are" : "this is temperature scaling";
  const outcome = taught ? "what unlabelled samples taught stays as it is" : plain;
  const none = make("strong", {}, taught ? "Nothing on top of it." : "No perturbation.");
  const scale = temperature === null ? "" : [" T = ", tell(temperature, digits(temperature, 4)), "."];
  if (accepted)
    return [make("strong", { class: "fine" }, "✓ Kept."), told ?? " It wasn’t asked to prove itself.", scale];
  if (verdict === null) return [none, " None was asked for.", scale];
  if (verdict.standard_error === 0)
    return [
      none,
      ` None promised anything on the folds, or there were fewer than 100 samples; ${outcome}.`,
      scale,
    ];
  return [
    make("strong", {}, "Refused."),
    ` The perturbation didn’t prove itself on held-out samples; ${outcome}.`,
    told,
    scale,
  ];
}

const signed = (value) => `${value < 0 ? "−" : "+"}${digits(Math.abs(value), 4)}`;

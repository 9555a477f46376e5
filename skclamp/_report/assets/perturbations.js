// What neural clamping learned, and why it was kept or refused.

function showPerturbations() {
  const cards = data.perturbations.map((own) =>
    make(
      "article",
      { class: "card" },
      make("h3", {}, own.name),
      make("p", {}, own.learned),
      ...own.verdicts.map(verdictOf),
      ...imagesOf(own.name),
      make("div", { class: "panels" }, own.panels.map(panelOf)),
    ),
  );
  $("perturbations").replaceChildren(...cards);
}

function panelOf(panel) {
  return make("figure", {}, make("figcaption", {}, panel.title.replace("\n", ", ")), PANELS[panel.kind](panel));
}

function verdictOf({ about, accepted, reason }) {
  const title = `${about[0].toUpperCase()}${about.slice(1)}. `;
  return make("p", {}, make("strong", accepted ? { class: "fine" } : {}, accepted ? `✓ ${title}` : title), reason);
}

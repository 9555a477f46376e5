// Net benefit of acting above a threshold, beside acting always and never.

function showDecision(side, own) {
  const name = names[state[side]];
  const always = data.thresholds.map((threshold) => ({
    threshold,
    benefit: eventShare - ((1 - eventShare) * threshold) / (1 - threshold),
  }));
  const label =
    `Net benefit of ${name} over the threshold. Above ${state.threshold} it is ${digits(100 * own.benefit, 2)} %; ` +
    `acting always ${digits(100 * always[data.thresholds.indexOf(state.threshold)].benefit, 2)} %, never 0.`;
  const caption = make(
    "figcaption",
    {},
    make("span", { class: "name" }, name),
    make(
      "span",
      { class: "note" },
      "net benefit ",
      tellPercent(own.benefit),
      " %, acting always ",
      tellPercent(always[data.thresholds.indexOf(state.threshold)].benefit),
      " %",
    ),
  );
  const plot = make("div", { class: "plot" });
  $(`${side}-risk`).replaceChildren(caption, plot);
  const words = { label, x: axisWords() };
  plot.append(decisionDiagram(plot.clientWidth, pointsOf(state[side]), always, state.threshold, words));
}

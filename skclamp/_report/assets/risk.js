// How often the most confident answers are wrong, whatever share of them is given.

function showRisk(side, { coverage }) {
  const [row, series] = [data.rows[state[side]], methods[state[side]][0]];
  const [points, best] = [riskPointsOf(series), bestAreaOf(series)];
  const label =
    `Risk of ${row.name} over coverage: area ${digits(100 * row.aurc, 2)} %, ` +
    `${digits(100 * best, 2)} % at best, ${digits(100 * points.at(-1).risk, 2)} % by chance. ` +
    `The threshold leaves a coverage of ${digits(100 * coverage, 2)} %.`;
  const caption = make(
    "figcaption",
    {},
    make("span", { class: "name" }, row.name),
    make(
      "span",
      { class: "note" },
      "AURC ",
      tellPercent(row.aurc),
      " % [",
      tellPercent(row.aurc_low),
      ", ",
      tellPercent(row.aurc_high),
      "], best order ",
      tellPercent(best),
      " %, by chance ",
      tellPercent(points.at(-1).risk),
      " %",
    ),
  );
  const plot = make("div", { class: "plot" });
  $(`${side}-risk`).replaceChildren(caption, plot);
  plot.append(riskDiagram(plot.clientWidth, points, coverage, { label }));
}

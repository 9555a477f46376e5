// The two reliability diagrams: captions, bins under the pointer or the arrow keys, and their tables.

function frameOf(side) {
  const plot = make("div", { class: "plot" });
  const handle = make("div", {
    class: "handle",
    role: "slider",
    tabindex: 0,
    "aria-label": `Bin of the ${side} diagram`,
    "aria-valuemin": 1,
  });
  const caption = make("figcaption");
  const readout = make("p", { class: "readout" });
  const table = make("table");
  const details = make(
    "details",
    {},
    make("summary", {}, "The numbers, bin by bin"),
    make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Bins of the ${side} diagram` }, table),
  );
  $(`${side}-figure`).append(caption, make("div", { class: "stage" }, plot, handle), readout, details);
  handle.addEventListener("keydown", (event) => moveBin(event));
  handle.addEventListener("focus", () => state.bin === null && setBin(firstHeld(side)));
  for (const kind of ["pointermove", "pointerdown"]) {
    handle.addEventListener(kind, (event) => setBin(binAt(side, event)));
  }
  handle.addEventListener(
    "pointerleave",
    (event) => event.pointerType === "mouse" && document.activeElement !== handle && setBin(null),
  );
  return { plot, handle, caption, readout, table, bins: [] };
}

const frames = Object.fromEntries(SIDES.map((side) => [side, frameOf(side)]));

function firstHeld(side) {
  const { bins } = frames[side];
  return bins.reduce((most, bin, k) => (bin.count > bins[most].count ? k : most), 0);
}

function binAt(side, event) {
  const { bins, plot } = frames[side];
  const box = plot.getBoundingClientRect();
  const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
  const k = bins.findIndex((bin) => share <= bin.upper);
  return k < 0 ? bins.length - 1 : k;
}

function moveBin(event) {
  const last = state.nBins - 1;
  const step = ARROW_STEPS[event.key];
  const targets = { Home: 0, End: last, Escape: null };
  if (step === undefined && !(event.key in targets)) return;
  event.preventDefault();
  setBin(step === undefined ? targets[event.key] : Math.min(Math.max((state.bin ?? 0) + step, 0), last));
}

function setBin(bin) {
  state.bin = bin;
  SIDES.forEach(showBin);
}

function showBin(side) {
  const frame = frames[side];
  const bin = state.bin === null ? null : frame.bins[state.bin];
  markBin(frame.plot.querySelector("svg"), frame.plot.clientWidth, bin);
  frame.readout.replaceChildren(
    ...(bin ? wordsOf(bin) : ["Point at a bar, or focus the diagram and use the arrow keys."]),
  );
  frame.handle.setAttribute("aria-valuemax", state.nBins);
  frame.handle.setAttribute("aria-valuenow", (state.bin ?? 0) + 1);
  frame.handle.setAttribute("aria-valuetext", bin ? frame.readout.textContent : "no bin chosen");
}

function wordsOf(bin) {
  const range = make("strong", {}, `(${edgeText(bin.lower)}, ${edgeText(bin.upper)}]`);
  if (bin.count === 0) return [range, ` holds no ${counted()}s.`];
  const gap = bin.accuracy - bin.confidence;
  const own = data.areLabels ? cameTrue : `of class ${className()}`;
  const hits = isTop() ? "right" : own;
  return [
    range,
    ` ${plural(bin.count, counted())}, `,
    tellCount(bin.hits),
    ` ${hits}: `,
    tellPercent(bin.accuracy),
    " % [",
    tellPercent(bin.low),
    ", ",
    tellPercent(bin.high),
    `], ${meanName()} `,
    tellPercent(bin.confidence),
    ` %; ${gapName(-gap, isTop())} by ${points(gap)} points`,
    bin.low <= bin.confidence && bin.confidence <= bin.high ? ", within the interval." : ".",
    bin.count < FEW ? ` Fewer than ${FEW} ${counted()}s say next to nothing.` : "",
  ];
}

function showDiagram(side) {
  const frame = frames[side];
  const series = seriesOf(state[side]);
  const bins = tableFor(series);
  const errors = errorsOf(bins, series, data);
  frame.bins = bins;
  frame.caption.replaceChildren(...captionOf(data.rows[state[side]], errors));
  const words = {
    x: isTop() ? "confidence" : probabilityName(),
    y: isTop() ? "accuracy" : shareName,
    counted: `${counted()}s`,
    label:
      `Reliability diagram of ${names[state[side]]}: ${plural(state.nBins, "bin")}, ECE ` +
      `${digits(100 * errors.expected, 2)} %, accuracy ${digits(100 * errors.accuracy, 2)} %, ` +
      `${meanName()} ${digits(100 * errors.confidence, 2)} %. The numbers are in a table below.`,
  };
  frame.plot.replaceChildren(reliabilityDiagram(frame.plot.clientWidth, bins, errors, words));
  fillBinTable(frame.table, bins, side);
  showBin(side);
}

function captionOf(row, errors) {
  const within = errors.expected <= errors.floorQuantile;
  const rank = row.name === names[0] ? "lowest NLL" : row.tied ? "tied with the lowest NLL" : null;
  return [
    make("span", { class: "name" }, row.name),
    rank && make("span", { class: "tag" }, rank),
    make("span", { class: within ? "headline" : "headline told" }, "ECE ", tellPercent(errors.expected), " %"),
    make(
      "span",
      { class: "note" },
      "noise floor ",
      tellPercent(errors.floor),
      " %, 95 %: ",
      tellPercent(errors.floorQuantile),
      " % — ",
      floorWords(errors.expected, errors.floorQuantile),
    ),
    make(
      "span",
      { class: "note" },
      isTop() ? "accuracy " : "share ",
      tellPercent(errors.accuracy),
      ` % (solid line), ${meanName()} `,
      tellPercent(errors.confidence),
      " % (dashed), largest gap ",
      tellPercent(errors.maximum),
      errors.fewAtMaximum ? " %, in a grey bin" : " %",
    ),
  ].filter(Boolean);
}

function floorWords(error, floorQuantile) {
  if (error <= floorQuantile) return make("span", { class: "fine" }, "✓ within the floor");
  return make("strong", { class: "bad" }, "▲ above the floor");
}

function fillBinTable(table, bins, side) {
  const heads = [
    "bin",
    `${counted()}s`,
    isTop() ? "right" : cameTrue,
    isTop() ? "confidence %" : "probability %",
    isTop() ? "accuracy %" : "share %",
    "95 % interval",
    "gap, points",
  ];
  table.replaceChildren(
    make("caption", { class: "unseen" }, `Bins of ${names[state[side]]}`),
    make("thead", {}, headOf(heads)),
    make("tbody", {}, bins.map(binRow)),
  );
}

function binRow(bin) {
  const range = ["(", tell(bin.lower, edgeText(bin.lower)), ", ", tell(bin.upper, edgeText(bin.upper)), "]"];
  const counts = [tellCount(bin.count), tellCount(bin.hits)];
  if (bin.count === 0) return rowOf(range, [...counts, "–", "–", "–", "–"]);
  const interval = [tellPercent(bin.low), "–", tellPercent(bin.high)];
  const gap = tellPercent(bin.accuracy - bin.confidence);
  const cells = [...counts, tellPercent(bin.confidence), tellPercent(bin.accuracy), interval, gap];
  return rowOf(range, cells, { class: bin.count < FEW && "few" });
}

// Drawing: elements, axes, and the pictures, given numbers. Nothing is computed here that the page tells in figures.

const SVG = document.querySelector("svg").namespaceURI;
const ARROW_STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const linear = (from, to) => (value) => to[0] + ((value - from[0]) / (from[1] - from[0])) * (to[1] - to[0]);

const LEFT = 52;
const RIGHT = 10;
const TOP = 10;

// An area with its own two scales, in pixels.
function area(width, top, height, yMax, xTicks = [0, 0.2, 0.4, 0.6, 0.8, 1]) {
  const x = linear([0, xTicks.at(-1)], [LEFT, width - RIGHT]);
  const y = linear([0, yMax], [top + height, top]);
  return { x, y, xTicks, top, bottom: top + height, left: LEFT, right: width - RIGHT };
}

function yAxis({ y, left, right }, ticks, format) {
  return ticks.map((tick) => [
    draw("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
    draw("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
  ]);
}

function xAxis({ x, xTicks, bottom, left, right }, label) {
  const ticks = xTicks.map((tick) => [
    draw("line", { class: "axis", x1: x(tick), x2: x(tick), y1: bottom, y2: bottom + 4 }),
    draw("text", { class: "tick", x: x(tick), y: bottom + 17, "text-anchor": "middle" }, +tick.toFixed(4)),
  ]);
  const middle = (left + right) / 2;
  return [
    draw("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    ticks,
    draw("text", { class: "label", x: middle, y: bottom + 36, "text-anchor": "middle" }, label),
  ];
}

const rotated = ({ top, bottom }, label) =>
  draw(
    "text",
    { class: "label", transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
    label,
  );

// About four round steps from 0 to at least a value.
function roundTicks(value) {
  const power = 10 ** Math.floor(Math.log10(value / 3));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((own) => own * 4 >= value);
  return Array.from({ length: Math.ceil(value / step - 1e-9) + 1 }, (_, k) => k * step);
}

const compact = (value) =>
  new Intl.NumberFormat("en", { notation: value < 1e4 ? "standard" : "compact" }).format(value);
const percent = (value) => `${+(100 * value).toFixed(2)} %`;

function canvasOf(width, height, label, ...children) {
  return draw(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": label },
    ...children,
  );
}

// Left and right end of a bar, wide enough to be seen.
function ends({ x }, bin) {
  const right = x(bin.upper);
  return [Math.min(x(bin.lower), right - 2), right];
}

// A reliability diagram over a histogram of its bins.
function reliabilityDiagram(width, bins, means, words) {
  const height = Math.round(Math.min(width * 0.8, 400));
  const diagram = area(width, TOP, height, 1);
  const strip = area(width, diagram.bottom + 14, 84, 1);
  const most = Math.max(...bins.map((bin) => bin.count));
  // Of a square-root scale the few beside the many can be seen.
  strip.y = (count) => strip.bottom - Math.sqrt(count / most) * (strip.bottom - strip.top);
  const held = bins.filter((bin) => bin.count > 0);
  return canvasOf(
    width,
    strip.bottom + 42,
    words.label,
    yAxis(diagram, [0, 0.2, 0.4, 0.6, 0.8, 1], (tick) => tick.toString()),
    held.map((bin) => barAndGap(diagram, bin)),
    draw("line", { class: "diagonal", x1: diagram.x(0), y1: diagram.y(0), x2: diagram.x(1), y2: diagram.y(1) }),
    held.map((bin) => whisker(diagram, bin)),
    rotated(diagram, words.y),
    yAxis(strip, [0, Math.round(most / 4), most], compact),
    rotated(strip, words.counted),
    held.map((bin) => column(strip, bin)),
    meanLine(strip, means.accuracy, "mean accuracy-line"),
    meanLine(strip, means.confidence, "mean confidence-line"),
    xAxis(strip, words.x),
    draw("rect", {
      class: "active",
      y: diagram.top,
      height: strip.bottom - diagram.top,
      width: 0,
      x: 0,
      visibility: "hidden",
    }),
  );
}

const fewness = (bin) => (bin.count < FEW ? "few" : "");

function barAndGap(diagram, bin) {
  const [left, right] = ends(diagram, bin);
  const [above, below] = [
    diagram.y(Math.max(bin.accuracy, bin.confidence)),
    diagram.y(Math.min(bin.accuracy, bin.confidence)),
  ];
  const own = { x: left, width: right - left };
  return [
    draw("rect", {
      class: `bar ${fewness(bin)}`,
      ...own,
      y: diagram.y(bin.accuracy),
      height: diagram.bottom - diagram.y(bin.accuracy),
    }),
    draw("rect", { class: `gap ${fewness(bin)}`, ...own, y: above, height: Math.max(below - above, 0.5) }),
  ];
}

function whisker(diagram, bin) {
  const [left, right] = ends(diagram, bin);
  const middle = (left + right) / 2;
  const reach = Math.min(4, (right - left) / 2);
  const [low, high] = [diagram.y(bin.low), diagram.y(bin.high)];
  const caps = [low, high].map((y) => `M${middle - reach} ${y}H${middle + reach}`).join("");
  const path = `M${middle} ${low}V${high}${caps}`;
  const line = draw("path", { class: `whisker ${fewness(bin)}`, d: path });
  return [draw("path", { class: "whisker halo", d: path }), line];
}

function column(strip, bin) {
  const [left, right] = ends(strip, bin);
  const top = Math.min(strip.y(bin.count), strip.bottom - 1);
  return draw("rect", { class: "column", x: left, width: right - left, y: top, height: strip.bottom - top });
}

const meanLine = ({ x, top, bottom }, value, kind) =>
  draw("line", { class: kind, x1: x(value), x2: x(value), y1: top - 4, y2: bottom });

// Put the mark on a bin of a diagram that is drawn already, or nowhere.
function markBin(svg, width, bin) {
  const mark = svg.querySelector(".active");
  mark.setAttribute("visibility", bin ? "visible" : "hidden");
  if (!bin) return;
  const [left, right] = ends(area(width, 0, 1, 1), bin);
  mark.setAttribute("x", left - 1);
  mark.setAttribute("width", right - left + 2);
}

// Of a rare event the thresholds that anything is above, else all.
const thresholdTicks = (shown, chosen) =>
  Math.max(chosen, ...shown.map((point) => point.threshold)) < 0.5
    ? roundTicks(Math.max(chosen, ...shown.map((point) => point.threshold)))
    : undefined;

// Errors, or events, observed and expected above every threshold, over the share that is there.
function thresholdDiagram(width, points, chosen, words) {
  const shown = points.filter((point) => point.count > 0);
  const most = Math.max(...shown.map((point) => Math.max(rateOf(point.accuracy), rateOf(point.confidence))), 0.001);
  const ticks = roundTicks(Math.min(1.1 * most, 1));
  const xTicks = thresholdTicks(shown, chosen);
  const diagram = area(width, TOP, Math.round(Math.min(width * 0.5, 240)), ticks.at(-1), xTicks);
  const strip = area(width, diagram.bottom + 14, 64, 1, xTicks);
  const line = (value) => path(shown.map((point) => [diagram.x(point.threshold), diagram.y(value(point))]));
  const top = (value) => diagram.y(Math.min(value, ticks.at(-1)));
  const band = [
    ...shown.map((point) => [diagram.x(point.threshold), top(rateOf(point.low))]),
    ...shown.map((point) => [diagram.x(point.threshold), top(rateOf(point.high))]).reverse(),
  ];
  const covered = points.filter((point) => point.threshold <= strip.xTicks.at(-1)).map((point) => [strip.x(point.threshold), strip.y(point.coverage)]);
  const at = diagram.x(chosen);
  return canvasOf(
    width,
    strip.bottom + 42,
    words.label,
    yAxis(diagram, ticks, percent),
    draw("path", { class: "band", d: `${path(band)}Z` }),
    draw("path", { class: "expected", d: line((point) => rateOf(point.confidence)) }),
    draw("path", { class: "observed", d: line((point) => rateOf(point.accuracy)) }),
    yAxis(strip, [0, 1], percent),
    draw("path", {
      class: "coverage",
      d: `${path([...covered, [covered.at(-1)[0], strip.bottom], [strip.x(0), strip.bottom]])}Z`,
    }),
    xAxis(strip, words.x),
    draw("line", { class: "cut", x1: at, x2: at, y1: diagram.top, y2: strip.bottom }),
  );
}

// Every diagram that is clipped has a name of its own.
let nClips = 0;

// Net benefit over the threshold, beside that of acting always, down to as far below 0 as tells that it is below.
function decisionDiagram(width, points, always, chosen, words) {
  const shown = points.filter((point) => point.count > 0);
  const ticks = roundTicks(1.1 * Math.max(...points.map((point) => point.benefit), always[0].benefit, 0.001));
  const xTicks = thresholdTicks(shown, chosen);
  const diagram = area(width, TOP, Math.round(Math.min(width * 0.5, 240)), ticks.at(-1), xTicks);
  const least = -ticks.at(-1) / 4;
  diagram.y = linear([least, ticks.at(-1)], [diagram.bottom, diagram.top]);
  const line = (own) =>
    path(
      own
        .filter((point) => point.threshold <= diagram.xTicks.at(-1))
        .map((point) => [diagram.x(point.threshold), diagram.y(point.benefit)]),
    );
  const at = diagram.x(chosen);
  const inside = {
    x: diagram.left,
    y: diagram.top,
    width: diagram.right - diagram.left,
    height: diagram.bottom - diagram.top,
  };
  const id = `inside-${(nClips += 1)}`;
  return canvasOf(
    width,
    diagram.bottom + 42,
    words.label,
    yAxis(diagram, ticks, percent),
    draw("line", {
      class: "diagonal",
      x1: diagram.left,
      x2: diagram.right,
      y1: diagram.y(0),
      y2: diagram.y(0),
    }),
    draw("clipPath", { id }, draw("rect", inside)),
    draw(
      "g",
      { "clip-path": `url(#${id})` },
      draw("path", { class: "expected", d: line(always) }),
      draw("path", { class: "observed", d: line(points) }),
    ),
    xAxis(diagram, words.x),
    draw("line", { class: "cut", x1: at, x2: at, y1: diagram.top, y2: diagram.bottom }),
  );
}

// Risk over coverage, beside those of a random and of the best order.
function riskDiagram(width, points, chosen, words) {
  const ticks = roundTicks(1.1 * Math.max(...points.map((point) => point.risk), 0.001));
  const diagram = area(width, TOP, Math.round(Math.min(width * 0.5, 240)), ticks.at(-1));
  const line = (own) => path(own.map((point) => [diagram.x(point.coverage), diagram.y(point.risk)]));
  const errorRate = points.at(-1).risk;
  const best = Array.from({ length: 51 }, (_, k) => 1 - (errorRate * (50 - k)) / 50).map((coverage) => ({
    coverage,
    risk: coverage > 0 ? Math.max(1 - (1 - errorRate) / coverage, 0) : 1,
  }));
  const [at, height] = [diagram.x(chosen), diagram.y(errorRate)];
  return canvasOf(
    width,
    diagram.bottom + 42,
    words.label,
    yAxis(diagram, ticks, percent),
    draw("line", { class: "diagonal", x1: diagram.x(0), x2: diagram.x(1), y1: height, y2: height }),
    draw("path", { class: "expected", d: line([{ coverage: 0, risk: best[0].risk }, ...best]) }),
    draw("path", { class: "observed", d: line(points) }),
    xAxis(diagram, "coverage"),
    draw("line", { class: "cut", x1: at, x2: at, y1: diagram.top, y2: diagram.bottom }),
  );
}

const path = (points) => points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join("");

// The ECE with its interval on the noise floor, as one small picture of a row.
function errorMark(row, most) {
  const [width, height] = [100, 18];
  const x = linear([0, most], [4, width - 6]);
  const middle = height / 2;
  return draw(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true", focusable: "false" },
    draw("rect", { class: "floor", x: x(0), y: 2, width: x(row.ece_floor_quantile) - x(0), height: height - 4 }),
    draw("line", { class: "spread", x1: x(row.ece_low), x2: x(row.ece_high), y1: middle, y2: middle }),
    draw("path", { class: "diamond", d: `M${x(row.ece)} ${middle - 5}l5 5l-5 5l-5 -5z` }),
  );
}

// Two bars and floors for one class, left calibrator above.
function classMark(errors, most) {
  const [width, height] = [120, 22];
  const x = linear([0, most], [0, width - 2]);
  return draw(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width: "100%",
      height,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    },
    errors.map(({ expected, floorQuantile }, k) => [
      draw("rect", { class: k ? "second" : "first", x: 0, y: 2 + 10 * k, width: Math.max(x(expected), 1), height: 8 }),
      draw("line", {
        class: "floor-line",
        x1: x(floorQuantile),
        x2: x(floorQuantile),
        y1: 1 + 10 * k,
        y2: 11 + 10 * k,
      }),
    ]),
  );
}

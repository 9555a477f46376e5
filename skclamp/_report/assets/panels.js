// Pictures of a perturbation's parameters: bars, images, tables of few numbers, and curves.

// Ever brighter from dark blue to yellow, for every eye and in greyscale as well: the stops are those of "cividis"
// (J. R. Nuñez et al., PLOS ONE 13, 2018).
const RAMP = [
  [0, 34, 78],
  [53, 69, 108],
  [102, 105, 112],
  [148, 142, 119],
  [200, 184, 102],
  [254, 232, 56],
];

function colorOf(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[below].map((value, k) => Math.round(value + (place - below) * (RAMP[below + 1][k] - value)));
}

const short = (value) => Number(value.toPrecision(3)).toString().replace("-", "−");

const DASHES = ["none", "7 3", "2 3", "7 3 2 3"];
const PANELS = { bars: barPanel, depth: depthPanel, image: imagePanel, curves: curvePanel };

function barPanel(panel) {
  const [width, height, left, right] = [280, 170, 58, 274];
  const values = [...panel.values, panel.nothing];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = linear([low, high === low ? low + 1 : high], [height - 34, 16]);
  const step = (right - left) / panel.values.length;
  const few = panel.values.length <= 14;
  const named = panel.names && few;
  const name = (k) => (panel.names ? panel.names[k] : `channel ${k}`);
  const spoken = few
    ? panel.values.map((value, k) => `${name(k)} ${short(value)}`).join(", ")
    : `values from ${short(low)} to ${short(high)}`;
  return canvasOf(
    width,
    height,
    `${panel.title}: ${spoken}; ${short(panel.nothing)} changes nothing`,
    [...new Set([low, high])].map((tick) =>
      draw("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    ),
    panel.values.map((value, k) => barOf(value, panel.nothing, left + step * k, step, y)),
    draw("line", { class: "diagonal", x1: left - 2, x2: right, y1: y(panel.nothing), y2: y(panel.nothing) }),
    named &&
      panel.names.map((own, k) =>
        draw(
          "text",
          { class: "tick", x: left + step * (k + 0.5), y: height - 12, "text-anchor": "middle" },
          clipped(own, step),
        ),
      ),
    !named &&
      draw("text", { class: "label", x: (left + right) / 2, y: height - 12, "text-anchor": "middle" }, "channel"),
  );
}

function barOf(value, nothing, left, step, y) {
  const [top, bottom] = [y(Math.max(value, nothing)), y(Math.min(value, nothing))];
  const space = Math.min(2, step * 0.1);
  const size = { width: Math.max(step - 2 * space, 0.5), height: Math.max(bottom - top, 0.5) };
  return draw("rect", { class: "bar", x: left + space, y: top, ...size });
}

// Of each layer, from the input on, the range of its values, their middle half and the median.
function depthPanel(panel) {
  const [width, height, left, right] = [280, 170, 58, 274];
  const values = [...panel.quantiles.flat(), panel.nothing];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = linear([low, high === low ? low + 1 : high], [height - 34, 16]);
  const step = (right - left) / panel.quantiles.length;
  const few = panel.quantiles.length <= 14;
  const named = panel.names.reduce((room, own) => room && 7 * own.length <= step, true);
  const spoken = few
    ? panel.quantiles.map((own, k) => `${panel.names[k]} ${short(own[0])} to ${short(own[4])}, median ${short(own[2])}`)
    : [`${panel.quantiles.length} layers, values from ${short(low)} to ${short(high)}`];
  return canvasOf(
    width,
    height,
    `${panel.title}: ${spoken.join("; ")}; ${short(panel.nothing)} changes nothing`,
    [...new Set([low, high])].map((tick) =>
      draw("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    ),
    panel.quantiles.map((own, k) => layerOf(own, panel.names[k], left + step * k, step, y)),
    draw("line", { class: "diagonal", x1: left - 2, x2: right, y1: y(panel.nothing), y2: y(panel.nothing) }),
    named
      ? panel.names.map((own, k) =>
          draw("text", { class: "tick", x: left + step * (k + 0.5), y: height - 12, "text-anchor": "middle" }, own),
        )
      : draw(
          "text",
          { class: "label", x: (left + right) / 2, y: height - 12, "text-anchor": "middle" },
          "layer, from the input on",
        ),
  );
}

function layerOf([low, first, median, third, high], name, left, step, y) {
  const [middle, from, to] = [left + step * 0.5, left + step * 0.15, left + step * 0.85];
  const size = { width: to - from, height: Math.max(y(first) - y(third), 0.5) };
  return draw(
    "g",
    {},
    draw("title", {}, `${name}: ${short(low)} to ${short(high)}, median ${short(median)}`),
    draw("rect", { class: "bar", x: from, y: y(third), ...size }),
    draw("line", { class: "whisker", x1: middle, x2: middle, y1: y(low), y2: y(high) }),
    draw("line", { class: "whisker", x1: from, x2: to, y1: y(median), y2: y(median) }),
  );
}

// As much of a name as there is room for, at some seven pixels per letter.
function clipped(name, room) {
  const letters = Math.max(Math.floor(room / 7), 1);
  return name.length <= letters ? name : `${name.slice(0, Math.max(letters - 1, 1))}…`;
}

function imagePanel(panel) {
  const values = panel.image.flat();
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (values.length <= 16) return numberPanel(panel, low, high);
  const [rows, columns] = [panel.image.length, panel.image[0].length];
  const canvas = make("canvas", { width: columns, height: rows, role: "img" });
  canvas.setAttribute(
    "aria-label",
    `${panel.title}: picture of ${rows} by ${columns} values from ${short(low)} to ${short(high)}`,
  );
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  values.forEach((value, k) => image.data.set([...colorOf((value - low) / (high - low || 1)), 255], 4 * k));
  context.putImageData(image, 0, 0);
  return make("div", { class: "picture" }, canvas, rampLegend([low, high]));
}

function rampLegend([low, high]) {
  const bar = make("canvas", { width: 64, height: 1, "aria-hidden": "true" });
  const context = bar.getContext("2d");
  const image = context.createImageData(64, 1);
  for (let k = 0; k < 64; k += 1) image.data.set([...colorOf(k / 63), 255], 4 * k);
  context.putImageData(image, 0, 0);
  return make("div", { class: "ramp" }, make("span", {}, short(low)), bar, make("span", {}, short(high)));
}

// Few values are a table, each on its colour.
function numberPanel(panel, low, high) {
  const heads =
    panel.names &&
    make(
      "tr",
      {},
      make("th", { scope: "col" }, "to \\ from"),
      panel.names.map((name) => make("th", { scope: "col" }, name)),
    );
  const body = panel.image.map((values, row) =>
    make(
      "tr",
      {},
      panel.names && make("th", { scope: "row" }, panel.names[row]),
      values.map((value) => numberCell(value, low, high)),
    ),
  );
  return make(
    "table",
    { class: "numbers", "aria-label": panel.title },
    heads && make("thead", {}, heads),
    make("tbody", {}, body),
  );
}

function numberCell(value, low, high) {
  const share = (value - low) / (high - low || 1);
  const cell = make("td", {}, make("data", { value }, value.toFixed(2)));
  const color = colorOf(share);
  cell.style.backgroundColor = `rgb(${color.join(" ")})`;
  cell.style.color = luminance(color) < 0.179 ? "#fff" : "#000";
  return cell;
}

// As the contrast of WCAG 2 takes it: above 0.179 black is easier to read than white.
function luminance(color) {
  const [red, green, blue] = color.map((value) =>
    value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function curvePanel(panel) {
  const [width, height, left] = [280, 220, 52];
  const values = [...panel.curves.flat(), ...panel.x];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [from, to] = [panel.x[0], panel.x.at(-1)];
  const x = linear([from, to], [left, width - 10]);
  const y = linear([low, high], [height - 42, 12]);
  const few = panel.curves.length <= DASHES.length;
  const spoken = panel.curves.map((curve, k) => `${panel.names[k]} ${short(curve[0])} to ${short(curve.at(-1))}`);
  const told = few ? spoken.join(", ") : `${spoken.length} channels`;
  const svg = canvasOf(
    width,
    height,
    `${panel.title}: what the network sees as the input goes from ${short(from)} to ${short(to)}: ${told}`,
    draw("line", { class: "diagonal", x1: x(from), y1: y(from), x2: x(to), y2: y(to) }),
    panel.curves.map((curve, k) =>
      draw("path", {
        class: "curve",
        "stroke-dasharray": few && DASHES[k],
        d: path(curve.map((value, i) => [x(panel.x[i]), y(value)])),
      }),
    ),
    [low, high].map((tick) =>
      draw("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
    ),
    [from, to].map((tick) =>
      draw("text", { class: "tick", x: x(tick), y: height - 26, "text-anchor": "middle" }, short(tick)),
    ),
    draw("text", { class: "label", x: (left + width - 10) / 2, y: height - 8, "text-anchor": "middle" }, "input"),
  );
  return few ? make("div", {}, svg, make("ul", { class: "legend" }, panel.names.map(dashLegend))) : svg;
}

function dashLegend(name, k) {
  const line = draw("line", { class: "curve", x1: 0, x2: 30, y1: 4, y2: 4, "stroke-dasharray": DASHES[k] });
  return make("li", {}, draw("svg", { width: 30, height: 8, "aria-hidden": "true", focusable: "false" }, line), name);
}

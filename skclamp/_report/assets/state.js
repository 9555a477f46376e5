// The data, what the reader has chosen of it, and how numbers are told.

const SIDES = ["left", "right"];
const $ = (id) => document.getElementById(id);

const data = JSON.parse($("data").textContent);
const edges = edgesOf(data);
if (!("DecompressionStream" in globalThis)) $("lead").replaceChildren("This page needs a browser of 2023 or later.");
const methods = await unpack(data);
const names = data.rows.map((row) => row.name);
// Of two classes one acts on the second one's probability: a rare event is hardly ever the most probable class.
const acts = data.event > 0 && !data.areLabels;
const cutSeries = (method) => methods[method][acts ? data.event + 1 : 0];
const eventShare = acts ? sum(cutSeries(0).hits) / data.nSamples : null;
// Where an event is -1 it is that the most probable class is right; else the class of this index. Of several labels a
// sample the first event is those of all of them.
const state = {
  left: Math.max(names.indexOf("uncalibrated"), 0),
  right: names[0] === "uncalibrated" ? Math.min(1, names.length - 1) : 0,
  event: data.event,
  nBins: data.counts.includes(data.nBins) ? data.nBins : data.counts.at(-1),
  threshold: acts ? data.thresholds.findLast((threshold) => threshold <= eventShare) : 0.9,
  bin: null,
};
state.mistaken = state.right;

const digits = (value, n) => value.toFixed(n);
// An edge of a bin; of classes that are hardly ever probable most are tiny.
const edgeText = (value) => (value > 0 && value < 0.0005 ? value.toExponential(1) : digits(value, 4));
const tell = (value, text) => make("data", { value }, text);
const tellPercent = (value, n = 2) => tell(value, digits(100 * value, n));
const tellCount = (value) => tell(value, value.toLocaleString("en"));
const plural = (n, word, words = `${word}s`) => `${n.toLocaleString("en")} ${n === 1 ? word : words}`;
const points = (value) => digits(Math.abs(100 * value), 2);

// A name that a narrow column may break before its capitals.
const breakable = (name) => name.split(/(?=[A-Z])/).flatMap((part, k) => (k ? [make("wbr"), part] : [part]));
const rowOf = (head, cells, attributes = {}) => {
  const others = cells.map((cell) => make("td", {}, cell));
  return make("tr", attributes, make("th", { scope: "row" }, head), others);
};
const headOf = (heads) => {
  const cells = heads.map((head) => (typeof head === "string" ? make("th", { scope: "col" }, head) : head));
  return make("tr", {}, cells);
};

// Indices of calibrators as they come, by group; groups in the order of their first ones.
function groupsOf(indices) {
  const groups = new Map();
  for (const k of indices) groups.set(data.rows[k].group, [...(groups.get(data.rows[k].group) ?? []), k]);
  return [...groups];
}

const isTop = () => state.event < 0;
const seriesOf = (method) => methods[method][state.event + 1];
const tableFor = (series) => tableOf(series, edges, state.nBins);
// The scores are about one event: of two classes the second one's probability, else the most probable class.
const scoreName = data.event < 0 || data.areLabels ? "ECE" : `ECE of P(${data.classNames[data.event]})`;
const className = () => data.classNames[state.event];
// Of all labels together a sample has several; of one, this is what is counted.
const ofAll = () => data.areLabels && state.event === data.event;
const counted = () => (ofAll() ? "label" : data.nPlaces ? "place" : "sample");
// Of answers, or of a class or label.
const meanName = () => (isTop() ? "mean confidence" : "mean probability");
const probabilityName = () =>
  ofAll() ? "probability of a label" : `probability of ${data.areLabels ? "" : "class "}${className()}`;
const [shareName, cameTrue] = data.areLabels
  ? ["share of the label", "there"]
  : ["share of the class", "of class"];

// The numbers: cells as Python packed them, and bins, intervals and thresholds made of them. Nothing is drawn here.

// Of the standard normal distribution: 95 % lie within.
const Z = 1.959963984540054;

// A bin of fewer samples says next to nothing.
const FEW = 10;

const sum = (values) => values.reduce((total, value) => total + value, 0);

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// The series of each calibrator, most probable class first: columns over its cells, and noise floors.
async function unpack(data) {
  const numbers = new Float64Array(await inflate(data.cells));
  const nCells = sum(data.sizes);
  const nFloors = 2 * data.counts.length;
  const [place, count, hits, confidence] = [0, 1, 2, 3].map((k) => numbers.subarray(k * nCells, (k + 1) * nCells));
  const floors = numbers.subarray(4 * nCells);
  let start = 0;
  const series = data.sizes.map((size, k) => {
    const own = Object.fromEntries(
      Object.entries({ place, count, hits, confidence }).map(([name, column]) => [
        name,
        column.subarray(start, start + size),
      ]),
    );
    start += size;
    own.floors = floors.subarray(k * nFloors, (k + 1) * nFloors);
    own.nSamples = sum(own.count);
    own.effect = data.effects[k];
    return own;
  });
  const each = 1 + data.classNames.length;
  return data.rows.map((row, k) => series.slice(k * each, (k + 1) * each));
}

// All edges that bins can have, and the thresholds: a cell's place is that of its lower end among them.
function edgesOf(data) {
  const fractions = data.counts.flatMap((n) => Array.from({ length: n + 1 }, (_, k) => k / n));
  return [...new Set([...fractions, ...data.thresholds])].sort((a, b) => a - b);
}

// Index of the first value for which a test holds that fails before it and holds after it.
function firstWhere(values, test) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (test(values[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

const firstAbove = (series, edges, edge) => {
  const index = firstWhere(edges, (value) => value >= edge);
  return firstWhere(series.place, (place) => place >= index);
};

// Bins of equal width of a series.
function tableOf(series, edges, n) {
  const inner = Array.from({ length: n - 1 }, (_, k) => firstAbove(series, edges, (k + 1) / n));
  const bounds = [0, ...inner, series.count.length];
  return Array.from({ length: n }, (_, k) => {
    const own = totalOf(series, bounds[k], bounds[k + 1]);
    return { lower: k / n, upper: (k + 1) / n, ...own, ...sharesOf(own) };
  });
}

function totalOf(series, start, end) {
  const own = { count: 0, hits: 0, total: 0, effect: series.effect };
  for (let cell = start; cell < end; cell += 1) {
    own.count += series.count[cell];
    own.hits += series.hits[cell];
    own.total += series.confidence[cell];
  }
  return own;
}

// Of labels that depend on each other `effect` tell as much as one.
function sharesOf({ count, hits, total, effect }) {
  if (count === 0) return { confidence: 0, accuracy: 0, low: 0, high: 1 };
  const [low, high] = wilson(hits / effect, count / effect);
  return { confidence: total / count, accuracy: hits / count, low, high };
}

// Interval of a share at 95 % (E. B. Wilson, Journal of the American Statistical Association 22, 1927).
function wilson(hits, count) {
  const share = hits / count;
  const square = (Z * Z) / count;
  const centre = (share + square / 2) / (1 + square);
  const half = (Z * Math.sqrt((share * (1 - share)) / count + square / (4 * count))) / (1 + square);
  return [hits === 0 ? 0 : centre - half, hits === count ? 1 : centre + half];
}

// Mean and largest absolute gap, accuracy and mean confidence of all samples, and the noise floor of the mean gap.
function errorsOf(bins, series, data) {
  const n = series.nSamples;
  const held = bins.filter((bin) => bin.count > 0);
  const gaps = held.map((bin) => Math.abs(bin.accuracy - bin.confidence));
  const at = 2 * data.counts.indexOf(bins.length);
  return {
    expected: sum(held.map((bin, k) => (bin.count * gaps[k]) / n)),
    maximum: Math.max(...gaps),
    fewAtMaximum: held[gaps.indexOf(Math.max(...gaps))].count < FEW,
    accuracy: sum(bins.map((bin) => bin.hits)) / n,
    confidence: sum(bins.map((bin) => bin.total)) / n,
    floor: series.floors[at],
    floorQuantile: series.floors[at + 1],
  };
}

// What is accepted above a threshold: counts, errors, and the accuracy with its interval.
function acceptedOf(series, edges, threshold) {
  const own = totalOf(series, firstAbove(series, edges, threshold), series.count.length);
  return {
    ...own,
    ...sharesOf(own),
    coverage: own.count / series.nSamples,
    observed: own.count - own.hits,
    expected: own.count - own.total,
  };
}

// What acting above a threshold brings a sample, in right actions: a wrong one costs the odds (Vickers and Elkin, 2006).
const netBenefitOf = ({ hits, observed }, series, threshold) =>
  (hits - (observed * threshold) / (1 - threshold)) / series.nSamples;

// Coverage and risk from the most confident answers on, cell by cell.
function riskPointsOf(series) {
  let [count, hits] = [0, 0];
  const points = Array.from(series.count, (_, k) => {
    const cell = series.count.length - 1 - k;
    count += series.count[cell];
    hits += series.hits[cell];
    return { coverage: count / series.nSamples, risk: 1 - hits / count };
  });
  return [{ ...points[0], coverage: 0 }, ...points];
}

// Area under the risk-coverage curve where all wrong answers come last.
function bestAreaOf(series) {
  const nWrong = series.nSamples - sum(series.hits);
  let total = 0;
  for (let k = 1; k <= nWrong; k += 1) total += k / (series.nSamples - nWrong + k);
  return total / series.nSamples;
}

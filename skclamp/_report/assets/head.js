// The head of the page: what was won, in numbers and in words, and what stood behind it.

const best = data.rows[0];
const uncalibrated = data.rows.find((row) => row.name === "uncalibrated");

function showLead() {
  $("won").replaceChildren(accuracyTile(), nllTile(), eceTile());
  $("lead").replaceChildren(...gainWords(), ...constantWords(), ...gapWords(), ...companyWords());
  const nCalibrators = data.rows.filter((row) => row !== uncalibrated).length;
  const facts = {
    "calibration samples": data.nCalibration,
    "test samples": data.nSamples,
    ...(data.nGroups && { "groups of these": data.nGroups }),
    [data.areLabels ? "labels" : "classes"]: data.nClasses,
    [nCalibrators === 1 ? "calibrator" : "calibrators"]: nCalibrators,
  };
  $("facts").replaceChildren(
    ...Object.entries(facts).map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value.toLocaleString("en"))),
    ),
  );
  const versions = Object.entries(data.versions).map((own) => own.join(" "));
  $("made").replaceChildren(`Compared on ${data.date.replace("T", " ")} with ${versions.join(", ")}.`);
}

// What the uncalibrated classifier and the best calibrator reach: one number where they are the same row.
const compared = () => (uncalibrated && uncalibrated !== best ? [uncalibrated, best] : [best]);

function tileOf(title, told, unit, notes) {
  const numbers = told.flatMap((number, k) => (k ? [make("span", { class: "to" }, " → "), number] : [number]));
  const lines = notes.map((note) => make("dd", { class: "note" }, note));
  return make("div", {}, make("dt", {}, title), make("dd", { class: "big" }, numbers, unit), lines);
}

function intervalTile(title, told, intervals, n, unit) {
  const rows = compared();
  const notes = intervals.map(([low, high], k) => [
    breakable(rows[k].name),
    " ",
    make("span", { class: "whole" }, "[", tell(low, digits(low, n)), ", ", tell(high, digits(high, n)), "]"),
  ]);
  return tileOf(title, told, unit, notes);
}

function accuracyTile() {
  const rows = compared();
  const intervals = rows.map((row) => {
    const series = methods[data.rows.indexOf(row)][0];
    const n = series.nSamples / series.effect;
    const hits = series.effect > 1 ? row.accuracy * n : Math.round(row.accuracy * n);
    return wilson(hits, n).map((end) => 100 * end);
  });
  const told = rows.map((row) => tellPercent(row.accuracy, 1));
  return intervalTile("Accuracy [95 % interval]", told, intervals, 1, " %");
}

function nllTile() {
  const rows = compared();
  const n = best.nll < 0.1 ? 4 : 3;
  const intervals = rows.map((row) => [Math.max(row.nll - Z * row.nll_se, 0), row.nll + Z * row.nll_se]);
  const told = rows.map((row) => tell(row.nll, digits(row.nll, n)));
  return intervalTile("NLL, lower is better [95 % interval]", told, intervals, n, "");
}

function eceTile() {
  const rows = compared();
  const told = rows.map((row) => tellPercent(row.ece));
  const notes = rows.map((row) => [breakable(row.name), ", ", floorWords(row.ece, row.ece_floor_quantile)]);
  return tileOf(`Calibration error, ${scoreName}`, told, " %", notes);
}

function gainWords() {
  const name = make("span", { class: "best" }, best.name);
  if (!uncalibrated) return [name, ` has the lowest NLL, ${digits(best.nll, 4)}. `];
  if (best === uncalibrated)
    return [make("strong", {}, "Nothing was won: "), "no calibrator’s NLL is below the uncalibrated classifier’s. "];
  // Rounded down: nothing is won entirely.
  const less = Math.floor((1000 * (uncalibrated.nll - best.nll)) / uncalibrated.nll) / 10;
  const told = less ? `${digits(less, 1)} %` : "less than 0.1 %";
  const won = [name, " lowers the NLL by ", make("strong", {}, told), ...accuracyWords(), ". "];
  if (!uncalibrated.tied) return won;
  return [...won, make("strong", {}, "This may be chance"), ": the uncalibrated classifier is tied with it. "];
}

function accuracyWords() {
  const { accuracy_gain: gain, accuracy_gain_se: error } = data.answers[0];
  if (gain === 0) return [" and leaves the accuracy as it is"];
  const ends = [gain - Z * error, gain + Z * error].map((end) => digits(100 * end, 1).replace("-", "−"));
  const told = `${gain > 0 ? "raises" : "lowers"} the accuracy by ${digits(Math.abs(100 * gain), 1)} points`;
  const chance = Math.abs(gain) <= Z * error;
  const words = chance ? `${told}, which may be chance` : make("strong", {}, told);
  return [" and ", words, ` (95 % interval ${ends[0]} to ${ends[1]})`];
}

// Of rare events the accuracy may be that of one answer to all.
function constantWords() {
  if (data.event < 0 || data.areLabels) return [];
  const { coverage } = cutOf(data.rows.indexOf(best), 0.5);
  if (coverage > 0 && coverage < 1) return [];
  const answer = data.classNames[coverage ? data.event : 1 - data.event];
  return [make("strong", {}, `At a threshold of 0.5 it answers ${answer} always`), ": choose another below. "];
}

// Of an answer; of a class's probability nobody is confident.
function gapName(gap, top = data.event < 0) {
  if (top) return `${gap > 0 ? "over" : "under"}-confident`;
  return `too ${gap > 0 ? "high" : "low"}`;
}

function gapWords() {
  if (!uncalibrated) return [];
  const series = methods[data.rows.indexOf(uncalibrated)][data.event + 1];
  const own = sharesOf(totalOf(series, 0, series.count.length));
  const gap = own.confidence - own.accuracy;
  const within = own.low <= own.confidence && own.confidence <= own.high;
  const words = `${gapName(gap)} by ${digits(Math.abs(100 * gap), 1)} points`;
  const said = `${digits(100 * own.confidence, 1)} %`;
  const share = `${digits(100 * own.accuracy, 1)} %`;
  const ofEvent = data.areLabels
    ? `labels ${said} on average, of which ${share} are there: `
    : `class ${data.classNames[data.event]} ${said} on average, and ${share} of the samples are of it: `;
  return [
    data.event < 0 ? `Uncalibrated, it says ${said} on average: ` : `Uncalibrated, it gives ${ofEvent}`,
    within ? `${words}, within the interval of its ${data.event < 0 ? "accuracy" : "share"}` : make("strong", {}, words),
    ". ",
  ];
}

function companyWords() {
  const tied = data.rows.filter((row) => row.tied && row !== best && row !== uncalibrated).length;
  const company = ["No other calibrator is", "One other calibrator is"][tied] ?? `${tied} other calibrators are`;
  return [`${company} tied with the lowest NLL.`, ...choiceWords()];
}

function choiceWords() {
  const n = data.rows.filter((row) => row !== uncalibrated).length;
  if (n < 2 || best === uncalibrated) return [];
  return [` It is the best of ${n} on these same samples, so new ones may show a little less.`];
}

// The controls: what they change, and the start of it all.

let spoken;
function announce(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => $("live").replaceChildren(text), 400);
}

function announceErrors() {
  const told = SIDES.map((side) => {
    const { expected } = errorsOf(frames[side].bins, seriesOf(state[side]), data);
    return `${names[state[side]]}: ECE ${digits(100 * expected, 2)} %`;
  });
  announce(`${told.join("; ")}, ${plural(state.nBins, "bin")}`);
}

function choose(changes) {
  Object.assign(state, changes, { bin: null });
  syncControls();
  showReliability();
  if ("left" in changes || "right" in changes) {
    showThreshold();
    showScores();
  }
  announceErrors();
}

function chooseThreshold(threshold) {
  state.threshold = threshold;
  syncControls();
  showThreshold();
  const own = SIDES.map((side) => `${names[state[side]]}: ${$(`${side}-cut`).querySelector(".note").textContent}`);
  announce(`Above ${threshold}: ${own.join("; ")}`);
}

function syncControls() {
  for (const name of [...SIDES, "event", "mistaken"]) $(name).value = state[name];
  $("bins").value = data.counts.indexOf(state.nBins);
  $("bins-value").replaceChildren(state.nBins.toString());
  $("bins").setAttribute("aria-valuetext", plural(state.nBins, "bin"));
  $("cut").value = data.thresholds.indexOf(state.threshold);
  $("cut-value").replaceChildren(state.threshold.toString());
  $("cut").setAttribute("aria-valuetext", `a ${CUT.of} of ${state.threshold}`);
  $("legend-accuracy").replaceChildren(isTop() ? "accuracy" : shareName);
  $("legend-gap").replaceChildren(`gap to the ${meanName()}`);
  $("legend-few").replaceChildren(`fewer than ${FEW} ${counted()}s`);
}

function buildControls() {
  const groups = groupsOf(names.keys());
  for (const menu of [...SIDES, "mistaken"]) {
    $(menu).replaceChildren(
      ...groups.map(([label, own]) =>
        make(
          "optgroup",
          { label },
          own.map((k) => make("option", { value: k }, names[k])),
        ),
      ),
    );
  }
  for (const side of SIDES) {
    $(side).addEventListener("change", (event) => choose({ [side]: Number(event.target.value) }));
  }
  const classes = data.classNames.map((name, k) => make("option", { value: k }, name));
  const noun = data.areLabels ? "label" : "class";
  const [first, own] = data.areLabels
    ? [classes[0], classes.slice(1)]
    : [make("option", { value: -1 }, "most probable class"), classes];
  const events = [first, ...(own.length ? [make("optgroup", { label: `one ${noun}’s probability` }, own)] : [])];
  $("event").replaceChildren(...(data.event > 0 ? events.reverse() : events));
  $("event").addEventListener("change", (event) => choose({ event: Number(event.target.value) }));
  $("bins").max = data.counts.length - 1;
  $("bins").addEventListener("input", (event) => choose({ nBins: data.counts[event.target.value] }));
  $("cut").max = data.thresholds.length - 1;
  $("cut").addEventListener("input", (event) => chooseThreshold(data.thresholds[event.target.value]));
  $("mistaken").addEventListener("change", (event) => {
    state.mistaken = Number(event.target.value);
    showMistakes();
    announce($("separation").textContent);
  });
  $("grouped").checked = sorting.grouped;
  $("grouped").addEventListener("change", (event) => {
    sorting.grouped = event.target.checked;
    showScores();
  });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
}

function buildTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const label = () => $("theme").replaceChildren(current() === "dark" ? "☀ Light" : "☾ Dark");
  $("theme").addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();
}

function showReliability() {
  SIDES.forEach(showDiagram);
  showClasses();
}

function watchWidth() {
  let width = frames.left.plot.clientWidth;
  new ResizeObserver(() => {
    if (frames.left.plot.clientWidth === width) return;
    width = frames.left.plot.clientWidth;
    showReliability();
    showThreshold();
  }).observe(frames.left.plot);
}

// What is said of classes or of labels alone, and of what one does above a threshold.
for (const part of document.querySelectorAll("[data-of]")) {
  part.hidden = (part.dataset.of === "labels") !== data.areLabels;
}
for (const part of document.querySelectorAll("[data-above]")) {
  part.hidden = (part.dataset.above === "acts") !== acts;
}
for (const part of document.querySelectorAll("[data-needs]")) {
  part.hidden = data[part.dataset.needs].length === 0;
}
buildTheme();
buildControls();
syncControls();
showLead();
showNotes();
showReliability();
showMistakes();
showThreshold();
showScores();
buildDownload();
showPerturbations();
watchWidth();
document.documentElement.dataset.ready = "";

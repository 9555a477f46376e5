// Every class at a glance: a button with the errors of both calibrators.

function showClasses() {
  // Those of all labels together come first.
  const own = [...data.classNames.keys()].slice(data.areLabels ? 1 : 0);
  if (own.length === 0) {
    $("classes").hidden = true;
    return;
  }
  const errors = own.map((k) =>
    SIDES.map((side) => {
      const series = methods[state[side]][k + 1];
      return errorsOf(tableFor(series), series, data);
    }),
  );
  const most = Math.max(...errors.flat().flatMap((own) => [own.expected, own.floorQuantile]));
  $("class-list").replaceChildren(...own.map((k, at) => classButton(data.classNames[k], k, errors[at], most)));
  $("classes-note").replaceChildren(...classesNote(errors));
}

function classButton(name, k, errors, most) {
  const values = errors.map((own) => tellPercent(own.expected));
  const button = make(
    "button",
    { type: "button", "aria-pressed": String(state.event === k), "data-class": k },
    make("span", { class: "class-name", title: name }, name),
    make("span", {}, values[0], " → ", values[1], " %"),
    classMark(errors, most),
  );
  button.addEventListener("click", () => {
    choose({ event: state.event === k ? data.event : k });
    $("class-list").querySelector(`[data-class="${k}"]`).focus();
  });
  return button;
}

function classesNote(errors) {
  const all = errors.length === data.nClasses;
  const [noun, nouns, which] = data.areLabels ? ["label", "labels", "worst"] : ["class", "classes", "most frequent"];
  const [left, right] = [0, 1].map((side) => sum(errors.map((own) => own[side].expected)) / errors.length);
  return [
    `Calibration error of each ${noun}’s own probability, ${plural(state.nBins, "bin")}: above `,
    make("strong", { class: "first-name" }, names[state.left]),
    ", below ",
    make("strong", { class: "second-name" }, names[state.right]),
    "; the tick is the 95 % quantile of the noise floor. ",
    all ? `Mean over the ${nouns}, SCE: ` : `Mean over these ${nouns}: `,
    tellPercent(left, 3),
    " → ",
    tellPercent(right, 3),
    ` %. Choose a ${noun} to see its diagrams above.`,
    data.areLabels ? " They are in the order of their uncalibrated NLL, what costs most first." : "",
    all ? "" : ` The ${errors.length} ${which} of ${data.nClasses} ${nouns} are on this page.`,
  ];
}

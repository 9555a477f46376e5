// Every class at a glance: a button with the errors of both calibrators.

function showClasses() {
  if (data.classNames.length === 0) {
    $("classes").hidden = true;
    return;
  }
  const errors = data.classNames.map((_, k) =>
    SIDES.map((side) => {
      const series = methods[state[side]][k + 1];
      return errorsOf(tableFor(series, state.strategy, false), series, data, state.strategy);
    }),
  );
  const most = Math.max(...errors.flat().flatMap((own) => [own.expected, own.floorQuantile]));
  $("class-list").replaceChildren(...data.classNames.map((name, k) => classButton(name, k, errors[k], most)));
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
  const all = data.classNames.length === data.nClasses;
  const [left, right] = [0, 1].map((side) => sum(errors.map((own) => own[side].expected)) / errors.length);
  return [
    `Calibration error of each class’s own probability, ${state.nBins} bins of ${KINDS[state.strategy]}: above `,
    make("strong", { class: "first-name" }, names[state.left]),
    ", below ",
    make("strong", { class: "second-name" }, names[state.right]),
    "; the tick is the 95 % quantile of the noise floor. ",
    all ? "Mean over the classes, SCE: " : "Mean over these classes: ",
    tellPercent(left, 3),
    " → ",
    tellPercent(right, 3),
    " %. Choose a class to see its diagrams above.",
    all ? "" : ` The ${data.classNames.length} most frequent of ${data.nClasses} classes are on this page.`,
  ];
}

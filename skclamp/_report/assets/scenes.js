// Test images with a class at each pixel: as they are, their masks, and where a calibrator's confidence is wrong.

function scenesOf(name) {
  const { masks, wrong, right, colors } = data.thumbnails.scenes;
  const figures = Object.keys(masks).map((row) => {
    const pictures = [
      pictureOf(data.thumbnails.before[row], `Row ${row} of the test set`),
      pictureOf(masks[row], `Row ${row}, its classes`),
      pictureOf(wrong[name][row], `Row ${row}, where ${name} is wrong`),
    ];
    const share = right[name][row];
    const told = share === null ? "nothing known" : [tellPercent(share, 1), " % of its pixels right"];
    const caption = make("figcaption", {}, make("span", {}, "row ", tell(Number(row), row), ", ", told));
    return make("figure", {}, make("div", { class: "change" }, pictures), caption);
  });
  const classes = Object.entries(colors).map(([k, color]) => make("li", {}, swatchOf(color), data.columns[k]));
  const note =
    "Images of the surest wrong answers, those of the uncalibrated network first: the image, its classes (grey: not " +
    `known), and where ${name} is wrong, the darker the surer.`;
  return [
    make("p", { class: "note" }, note),
    make("ul", { class: "legend", "aria-label": "Classes" }, classes),
    make("div", { class: "images scenes" }, figures),
  ];
}

function swatchOf(color) {
  const swatch = make("span", { class: "swatch" });
  // A style attribute would be refused.
  swatch.style.background = `rgb(${color})`;
  return swatch;
}

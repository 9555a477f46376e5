// The scores as a file of comma-separated values, made here.

function quoted(value) {
  const text = value === null ? "" : value.toString();
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function buildDownload() {
  const columns = Object.keys(data.rows[0]);
  const lines = [columns, ...data.rows.map((row) => columns.map((name) => row[name]))];
  const text = lines.map((cells) => `${cells.map(quoted).join(",")}\r\n`).join("");
  $("csv").href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
}

// Narrow screens show the rows of a table as cards: each cell then needs what the head of its column says. As blocks,
// tables would be none to a screen reader, so their roles are said.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".bd-article table.table")) {
    const heads = [...table.querySelectorAll(":scope > thead th")].map((head) => head.textContent.trim());
    table.setAttribute("role", "table");
    for (const row of table.rows) {
      row.setAttribute("role", "row");
      [...row.cells].forEach((cell, column) => {
        cell.setAttribute("role", cell.tagName === "TH" ? "columnheader" : "cell");
        if (cell.tagName === "TD" && heads[column]) {
          cell.dataset.label = heads[column];
        }
      });
    }
    if (heads.length) {
      table.dataset.head = "";
    }
  }
});

// A click (or Enter) on a column's heading sorts its table: figures as figures, other text as text.
const value = (row, column) => {
  const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim();
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b
  : typeof a === typeof b ? a.localeCompare(b, undefined, { numeric: true })
  : typeof a === "number" ? -1 : 1;
for (const button of document.querySelectorAll("th[aria-sort] button"))
  button.addEventListener("click", () => {
    const heading = button.parentElement, table = heading.closest("table"), column = heading.cellIndex;
    const up = heading.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0];
    for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
    body.append(...rows);
  });

"use strict";
// Names from the data never enter this script: rows and options are joined by numbers in data attributes.

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.classList.contains("num") ? ("v" in cell.dataset ? Number(cell.dataset.v) : null) : cell.textContent.trim() || null;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const sign = head.ariaSort === "ascending" ? -1 : 1;
    for (const other of heads) if (other.ariaSort) other.ariaSort = "none";
    head.ariaSort = sign > 0 ? "ascending" : "descending";
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
    body.append(...rows.map(([, row]) => row));
  }));
}
document.querySelectorAll("table.sortable").forEach(sortable);

const filters = [...document.querySelectorAll("[data-filter]")];
const rows = [...document.querySelectorAll("#variants tbody tr")];
function filter() {
  for (const row of rows) {
    row.hidden = !filters.every((each) => !each.value || row.dataset[each.dataset.filter].split(" ").includes(each.value));
  }
  document.getElementById("count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
}
filters.forEach((each) => each.addEventListener("change", filter));
filter();

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// A link into a closed part opens it; on paper everything is open.
function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  const details = target.closest("details") ?? target.querySelector(":scope > details");
  if (details) details.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of closed) each.open = false;
});

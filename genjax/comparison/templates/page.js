"use strict";
const table = document.getElementById("table");
const body = table.tBodies[0];
const filter = document.getElementById("filter");
const floors = document.getElementById("floors");

function value(row, column, kind) {
  const cell = row.cells[column];
  if (kind === "text") return cell.textContent;
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
}

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);  // what has no value comes last
  return direction * (typeof a === "string" ? a.localeCompare(b) : a - b);
}

function sort(button) {
  const heading = button.parentElement;
  const first = button.dataset.first || "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? other : first;
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const column = Number(button.dataset.column);
  const rows = Array.from(body.rows, row => ({ row, value: value(row, column, button.dataset.kind) }));
  rows.sort((a, b) => compare(a.value, b.value, order === "ascending" ? 1 : -1));
  body.append(...rows.map(each => each.row));
}

function show() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of body.rows) {
    const fits = words.every(word => row.dataset.search.includes(word));
    row.hidden = !fits || (row.className === "floor" && !floors.checked);
    count += !row.hidden;
  }
  document.getElementById("count").textContent = `${count} of ${body.rows.length} shown`;
}

for (const button of table.tHead.querySelectorAll("button")) button.addEventListener("click", () => sort(button));
filter.addEventListener("input", show);
floors.addEventListener("change", show);
show();

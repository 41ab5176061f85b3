// A click on a head sorts every group of rows by that column, a second one turns it, a third brings the first order back.
const SECONDS = { h: 3600, min: 60, s: 1 };
const TURNS = { none: "ascending", ascending: "descending", descending: "none" };

function number(text) {
  const plain = text.replace(/\u2212/g, "-").replace(/\u2009/g, "");
  const parts = [...plain.matchAll(/(\d+) (h|min|s)\b/g)];
  if (parts.length) return parts.reduce((sum, [, count, unit]) => sum + count * SECONDS[unit], 0);
  const found = plain.match(/[-+]?\d+(\.\d+)?/);
  return found ? Number(found[0]) : NaN;
}

function compare(one, other, sign, numeric) {
  const values = [one, other].map((text) => (numeric ? number(text) : text.trim() || NaN));
  const absent = values.map((value) => Number(value !== value));
  if (absent[0] || absent[1]) return absent[0] - absent[1];
  return sign * (numeric ? values[0] - values[1] : values[0].localeCompare(values[1]));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const groups = [...table.tBodies].map((body) => [body, [...body.rows].filter((row) => row.className !== "title")]);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = TURNS[head.getAttribute("aria-sort") || "none"];
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      if (order !== "none") head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const numeric = head.classList.contains("r");
      const text = (row) => row.cells[column].textContent;
      for (const [body, rows] of groups) {
        const sorted = [...rows];
        if (order !== "none") sorted.sort((one, other) => compare(text(one), text(other), sign, numeric));
        body.append(...sorted);
      }
    });
  });
}

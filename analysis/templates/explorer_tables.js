"use strict";
// Tables whose columns sort, and whose numbers show the seeds and runs behind them. Text is set as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Numbers as in the report: percent with one decimal, a true minus.
function format(value, isPercent, isDifference) {
  if (value === null || value === undefined) return "–";
  let text = isPercent ? (100 * value).toFixed(1) : String(Number(value.toPrecision(3)));
  if (Number(text) === 0) return text.replace("-", "");
  if (isDifference && value > 0) text = "+" + text;
  return text.replace("-", "−");
}

const tip = byId("tip");

function showTip(target, text) {
  tip.textContent = text;
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  const left = Math.min(box.left, innerWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = Math.max(8, below ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + "px";
}

function hideTip() {
  tip.hidden = true;
}

function addTip(element, describe) {
  element.classList.add("cell");
  element.tabIndex = 0;
  const show = () => showTip(element, describe());
  for (const event of ["mouseenter", "focus", "click"]) element.addEventListener(event, show);
  for (const event of ["mouseleave", "blur"]) element.addEventListener(event, hideTip);
}

addEventListener("scroll", hideTip, true);
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

function describeSeed(arm, seed, value, isPercent) {
  const run = data.runs[arm][seed];
  const text = value === null ? (run ? run.state : "missing") : format(value, isPercent);
  const threshold = run && run.threshold !== null ? `, threshold ${run.threshold.toFixed(2)}` : "";
  return `seed ${data.seeds[seed]}: ${text}` + (run ? `, run ${run.run_id}${threshold}` : "");
}

function describeCell(cell, arm, isPercent) {
  const lines = [data.arms[arm], ...cell.values.map((value, seed) => describeSeed(arm, seed, value, isPercent))];
  if (cell.difference !== null) {
    const [difference, low, high] = [cell.difference, cell.low, cell.high].map((value) => format(value, isPercent, true));
    lines.push(`median difference to ${data.arms[data.baseline]}: ${difference}`);
    const pairs = cell.pairs === 1 ? "1 pair" : `${cell.pairs} pairs`;
    lines.push(`${Math.floor(100 * cell.confidence)} % interval of ${pairs}: ${low} to ${high}`);
  }
  return lines.join("\n");
}

// keys: what the columns sort by, a list for each row; null comes last in both directions.
function sortRows(body, column, isAscending) {
  const rows = [...body.rows].sort((first, second) => {
    const [a, b] = [first.keys[column], second.keys[column]];
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return isAscending ? order : -order;
  });
  body.append(...rows);
}

function makeHead(headers, body) {
  const row = make("tr", {});
  headers.forEach((header, column) => {
    const button = make("button", { type: "button", textContent: header });
    const cell = make("th", { scope: "col", className: column ? "right" : "" }, button);
    button.addEventListener("click", () => {
      // Names from A to Z first, numbers from the highest.
      const isAscending = column ? cell.ariaSort === "descending" : cell.ariaSort !== "ascending";
      for (const other of row.cells) other.removeAttribute("aria-sort");
      cell.ariaSort = isAscending ? "ascending" : "descending";
      sortRows(body, column, isAscending);
    });
    row.append(cell);
  });
  return make("thead", {}, row);
}

function makeTable(caption, headers, rows) {
  const body = make("tbody", {}, ...rows);
  const table = make("table", {}, make("caption", { textContent: caption }), makeHead(headers, body), body);
  return makeScrolling(table);
}

// The keyboard reaches a table to move it sideways.
function makeScrolling(table) {
  return make("div", { className: "scroll", role: "group", ariaLabel: "table", tabIndex: 0 }, table);
}

function nameCell(text) {
  return make("td", { className: "name", textContent: text });
}

function numberCell(text, describe) {
  const cell = make("td", { className: "right", textContent: text });
  if (describe) addTip(cell, describe);
  return cell;
}

// better: "max", "min", or null where neither end is better.
function differenceCell(cell, arm, isPercent, better) {
  const element = numberCell(format(cell.difference, isPercent, true), () => describeCell(cell, arm, isPercent));
  // Coloured where an interval of at least 95 % leaves zero out.
  const sign = cell.confidence >= 0.95 ? (cell.low > 0) - (cell.high < 0) : 0;
  if (sign && better) element.classList.add((sign > 0) === (better === "max") ? "better" : "worse");
  return element;
}

// Arms below each other, a column for each seed.
function makeMetricTable(table) {
  const rows = table.rows[0].cells.map((cell, arm) => {
    const seeds = cell.values.map((value, seed) =>
      numberCell(format(value, table.is_percent), () => describeSeed(arm, seed, value, table.is_percent)));
    const name = data.arms[arm] + (arm === data.baseline ? " (baseline)" : "");
    const mean = numberCell(format(cell.mean, table.is_percent), () => describeCell(cell, arm, table.is_percent));
    // On the tested metric report.html decides.
    const better = table.is_tested ? null : table.rows[0].better;
    const row = make("tr", {}, nameCell(name), mean, differenceCell(cell, arm, table.is_percent, better), ...seeds);
    row.keys = [data.arms[arm], cell.mean, cell.difference, ...cell.values];
    return row;
  });
  const unit = (table.is_percent ? ", in percent" : "") + (table.is_tested ? "; tested in report.html" : "");
  const seeds = data.seeds.map((seed) => `seed ${seed}`);
  return makeTable(`${table.caption} (${table.note})${unit}`, ["arm", "mean", "median difference", ...seeds], rows);
}

// Groups below each other, columns for each arm.
function makeGroupTable(table) {
  const hasCounts = table.rows.some((row) => row.count !== null);
  const headers = [table.group, ...(hasCounts ? ["boxes"] : [])];
  data.arms.forEach((arm, index) => headers.push(arm, ...(isCompared(index) ? ["median difference"] : [])));
  const rows = table.rows.map((group) => {
    const row = make("tr", {}, nameCell(group.label), ...(hasCounts ? [numberCell(String(group.count))] : []));
    row.keys = [group.label, ...(hasCounts ? [group.count] : [])];
    row.classIndex = group.class_index;
    group.cells.forEach((cell, arm) => {
      row.append(numberCell(format(cell.mean, table.is_percent), () => describeCell(cell, arm, table.is_percent)));
      row.keys.push(cell.mean);
      if (!isCompared(arm)) return;
      row.append(differenceCell(cell, arm, table.is_percent, group.better));
      row.keys.push(cell.difference);
    });
    return row;
  });
  const caption = table.note + (table.is_percent ? " In percent, mean over the seeds." : " Mean over the seeds.");
  const summary = make("summary", { textContent: table.caption });
  const details = make("details", { open: table.rows.length <= 12 }, summary, makeTable(caption, headers, rows));
  details.className = `table-${table.group}`;
  return details;
}

function isCompared(arm) {
  return data.baseline !== null && arm !== data.baseline;
}

// By seed: the boxes of a row, those of merged classes that are taken for each other included.
function sumRow(confusion, row) {
  const isMerged = row === confusion.labels.length - 1 && confusion.mixed.length > 0;
  return confusion.seeds.map((_, seed) =>
    confusion.counts[row].reduce((sum, cell) => sum + cell[seed], isMerged ? confusion.mixed[seed] : 0));
}

function describeMixed(confusion) {
  if (!confusion.mixed.length) return [];
  const row = confusion.labels.length - 1;
  const totals = sumRow(confusion, row);
  const shares = confusion.mixed.map((count, seed) => (totals[seed] ? count / totals[seed] : 0));
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const text = `${confusion.labels[row]}: the diagonal has the boxes that are detected as their own class. ` +
    `Another ${format(mean, true)} percent are detected as another of these classes, and are in no column.`;
  return [make("p", { className: "quiet", textContent: text })];
}

function makeConfusion(confusion) {
  const labels = [...confusion.labels, "missed"];
  const head = make("tr", {}, make("td", {}), ...labels.map((text) => make("th", { scope: "col", textContent: text })));
  const rows = confusion.counts.map((counts, row) => {
    const isTruth = row < confusion.labels.length;
    const name = make("th", { scope: "row", textContent: isTruth ? confusion.labels[row] : "no box" });
    const totals = sumRow(confusion, row);
    return make("tr", {}, name, ...counts.map((cell, column) => {
      if (!isTruth && column === counts.length - 1) return make("td", {});
      const shares = cell.map((count, seed) => (isTruth ? (totals[seed] ? count / totals[seed] : 0) : count));
      const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
      const element = numberCell(format(mean, isTruth), () => [
        isTruth ? `${labels[row]} as ${labels[column]}` : `no box as ${labels[column]}`,
        ...cell.map((count, seed) =>
          `seed ${data.seeds[confusion.seeds[seed]]}: ${count}` + (isTruth ? ` of ${totals[seed]}` : "")),
      ].join("\n"));
      if (isTruth) element.style.setProperty("--share", `${Math.round(60 * mean)}%`);
      return element;
    }));
  });
  const table = make("table", { className: "heat" }, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", {}, makeScrolling(table), ...describeMixed(confusion));
}

function fillSelect(select, texts, values) {
  select.replaceChildren(...texts.map((text, index) => make("option", { textContent: text, value: values[index] })));
}

byId("metrics").append(...data.metrics.map(makeMetricTable));

"use strict";
// What all scripts share: the page's data, elements, and files made in the page.
const outctl = {
  page: JSON.parse(document.getElementById("page").textContent),
  state: {},
  // Told what changed: "model", "other" or "theme".
  listeners: [],
};

outctl.blocks = new Map();
/** The value of a block, decompressed when it is first asked for; undefined where the page has no such block. */
outctl.block = (name) => {
  if (!outctl.blocks.has(name)) {
    outctl.blocks.set(name, outctl.decompressed(name));
  }
  return outctl.blocks.get(name);
};
outctl.decompressed = async (name) => {
  const element = document.querySelector(`script[data-block="${CSS.escape(name)}"]`);
  if (!element) {
    return undefined;
  }
  const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
};

outctl.set = (key, value) => {
  if (outctl.state[key] !== value) {
    outctl.state[key] = value;
    outctl.listeners.forEach((listener) => listener(key));
  }
};

/** An element with text or children. Text is never read as HTML: words and tokens may be anything. */
outctl.element = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

/** A cell of a CSV file. A formula gets an apostrophe in front, so that a spreadsheet shows it and does not run it. */
outctl.cell = (value) => {
  if (value === null || value === undefined) {
    return "";
  }
  const text = typeof value === "string" && /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Rows of objects as CSV, with every key that one of them has as a column. */
outctl.csv = (rows) => {
  const columns = outctl.columns(rows);
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
  return lines.map((line) => `${line.map(outctl.cell).join(",")}\n`).join("");
};
outctl.columns = (rows) => [...new Set(rows.flatMap(Object.keys))];

outctl.download = (name, rows) => {
  const address = URL.createObjectURL(new Blob([outctl.csv(rows)], { type: "text/csv" }));
  const link = outctl.element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
};

/** A table of rows, of which only so many are shown. */
outctl.table = (rows, limit = 500) => {
  const columns = outctl.columns(rows);
  const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value ?? ""));
  const cell = (value) => outctl.element("td", typeof value === "number" ? { class: "n" } : {}, shown(value));
  const head = outctl.element("tr", {}, ...columns.map((name) => outctl.element("th", { scope: "col" }, name)));
  const body = rows.slice(0, limit).map((row) => outctl.element("tr", {}, ...columns.map((name) => cell(row[name]))));
  const table = outctl.element("table", {}, outctl.element("thead", {}, head), outctl.element("tbody", {}, ...body));
  const rest = `The first ${limit} of ${rows.length} rows; the CSV file has all.`;
  return rows.length > limit ? [table, outctl.element("p", { class: "note" }, rest)] : [table];
};

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

/** Whether an element stands before another one. */
outctl.above = (element, other) => Boolean(element.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);

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

outctl.ROWS = 500;
/** A table of rows, so many at a time; `links` makes elements of the cells of some columns, by the columns' names. */
outctl.table = (rows, links = {}) => {
  const { element } = outctl;
  const columns = outctl.columns(rows);
  const numeric = new Set(columns.filter((name) => rows.some((row) => typeof row[name] === "number")));
  const classOf = (name) => (numeric.has(name) ? { class: "n" } : {});
  const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))).replaceAll("-", "−") : String(value ?? ""));
  const cell = (row, name) => element("td", classOf(name), links[name]?.(row) ?? shown(row[name]));
  const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col", ...classOf(name) }, name)));
  const body = element("tbody");
  const more = element("button", { type: "button", class: "rows" });
  const fill = () => {
    const done = body.childElementCount;
    const next = rows.slice(done, done + outctl.ROWS);
    body.append(...next.map((row) => element("tr", {}, ...columns.map((name) => cell(row, name)))));
    const left = rows.length - body.childElementCount;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(outctl.ROWS, left)} more of ${left} rows`;
  };
  more.addEventListener("click", () => {
    const first = body.childElementCount;
    fill();
    // Who reads on with the keyboard goes on where the new rows begin.
    body.children[first].querySelector("a")?.focus();
  });
  fill();
  return [element("table", {}, element("thead", {}, head), body), more];
};

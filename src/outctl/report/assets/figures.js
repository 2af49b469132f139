"use strict";
// Draws each figure when it comes near the window, and again when model, variant or theme change.
outctl.views = new Map();

/** Colours of the theme in place of the variables that name them. */
outctl.coloured = (value) => {
  if (typeof value === "string") {
    return value.startsWith("var(--") ? outctl.colour(value) : value;
  }
  if (Array.isArray(value)) {
    return value.map(outctl.coloured);
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, outctl.coloured(item)]));
  }
  return value;
};
outctl.colour = (variable) => {
  const probe = outctl.element("span", { hidden: "" });
  probe.style.color = variable;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
};

outctl.theme = () => {
  const text = {
    labelColor: "var(--muted)",
    titleColor: "var(--muted)",
    titleFontWeight: "normal",
    labelFontSize: 11.5,
    titleFontSize: 11.5,
  };
  const axis = { ...text, gridColor: "var(--rule)", domain: false, ticks: false, labelPadding: 6, titlePadding: 8 };
  return outctl.coloured({
    font: getComputedStyle(document.documentElement).fontFamily,
    background: "transparent",
    view: { stroke: null },
    axis,
    axisXQuantitative: { labelFlush: true, labelSeparation: 6 },
    text: { color: "var(--ink)" },
    // Each plot has a description of its own; marks would be read one by one.
    aria: false,
  });
};

outctl.drawing = new Map();
/** Draw a figure, after what is still being drawn of it. */
outctl.draw = (element) => {
  const before = outctl.drawing.get(element) ?? Promise.resolve();
  const now = before.then(() => outctl.drawn(element));
  outctl.drawing.set(element, now);
  return now;
};

/** The rows of a figure that its panels show now, and the descriptions of the panels. */
outctl.shown = async (name) => {
  const figure = outctl.page.figures[name];
  const { model, other } = outctl.state;
  const block = (await outctl.block(`figures:${figure.all ? "" : model}`))[name];
  const wanted = [outctl.page.baseline, other];
  const rows = figure.compared ? block.rows.filter((row) => wanted.includes(row.variant)) : block.rows;
  return { figure, rows, alts: block.alts };
};

outctl.drawn = async (element) => {
  const name = element.dataset.figure;
  const { figure, rows, alts } = await outctl.shown(name);
  (outctl.views.get(name) ?? []).forEach((view) => view.finalize());
  const panels = new Map();
  for (const row of rows) {
    const key = figure.panel ? String(row[figure.panel]) : "";
    if (!panels.has(key)) {
      panels.set(key, []);
    }
    panels.get(key).push(row);
  }
  const box = element.querySelector(".panels");
  box.classList.toggle("single", panels.size <= 1);
  box.replaceChildren();
  element.querySelector(".legend").replaceChildren(...outctl.legend(figure, rows));
  if (!rows.length) {
    box.append(outctl.element("p", { class: "nothing" }, "Nothing of this was measured for this model."));
  }
  const config = outctl.theme();
  const chart = outctl.coloured(figure.chart);
  const views = [];
  for (const [key, own] of panels) {
    // Vega gives the element that it draws in a role of its own.
    const canvas = outctl.element("div", { class: "canvas" });
    const plot = outctl.element("div", { class: "plot", role: "img", "aria-label": alts[key] }, canvas);
    const title = key && outctl.page.models.length + panels.size > 2 ? key : "";
    box.append(outctl.element("div", { class: "panel" }, outctl.panelTitle(title), plot));
    const spec = { ...chart, datasets: { ...chart.datasets, rows: own } };
    // Errors alone: a layer without rows, such as intervals where there are none, is worth no warning.
    const options = { actions: false, renderer: "svg", config, logLevel: 1, tooltip: { theme: "outctl" } };
    const { view } = await vegaEmbed(canvas, spec, options);
    if (figure.compared) {
      view.addEventListener("click", (_, item) => item?.datum?.sample && outctl.find(item.datum.case, item.datum.sample));
    }
    views.push(view);
  }
  outctl.views.set(name, views);
  element.dataset.drawn = "";
  outctl.fillNumbers(element, rows, figure.compared ? { sample: outctl.linkToSample } : {});
};

/** A link from a row of a figure to its sample, where the keyboard reaches what a click on the mark does. */
outctl.linkToSample = (row) => {
  const link = outctl.element("a", { href: "#samples" }, row.sample);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    outctl.find(row.case, row.sample);
  });
  return link;
};

/** The title of a panel: what stands behind a middle dot is a line of its own. */
outctl.panelTitle = (title) => {
  const [first, second] = title.split(" · ");
  const below = second && outctl.element("span", {}, second);
  return title ? outctl.element("p", { class: "panel-title" }, first, below) : null;
};

outctl.fillNumbers = (element, rows, links) => {
  const details = element.querySelector(".numbers");
  const fill = () => {
    if (details.open) {
      details.querySelector(".scroll").replaceChildren(...outctl.table(rows, links));
    }
  };
  details.ontoggle = fill;
  fill();
};

outctl.SYMBOLS = {
  circle: "M6,1.5A4.5,4.5 0 1 1 5.99,1.5Z",
  diamond: "M6,0.5L11.5,6L6,11.5L0.5,6Z",
  square: "M1.5,1.5H10.5V10.5H1.5Z",
  "triangle-up": "M6,1L11.5,11H0.5Z",
  cross: "M4,0.5H8V4H11.5V8H8V11.5H4V8H0.5V4H4Z",
  "triangle-down": "M0.5,1H11.5L6,11Z",
  "triangle-right": "M1,0.5L11,6L1,11.5Z",
};

/** The legend of a figure: its variants with colour and shape, its parts, or its models. */
outctl.legend = (figure, rows) => {
  const { key, entries } = figure.legend;
  const entry = ({ name, colour, shape }) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 12 12");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", outctl.SYMBOLS[shape]);
    path.style.fill = colour;
    svg.append(path);
    return outctl.element("span", {}, svg, name);
  };
  const present = new Set(rows.map((row) => row[key]));
  return entries.filter(({ name }) => !key || present.has(name)).map(entry);
};

outctl.startFigures = () => {
  const figures = [...document.querySelectorAll("[data-figure]")];
  const waiting = new Set();
  const start = (element) => {
    if (waiting.delete(element)) {
      near.unobserve(element);
      outctl.draw(element);
    }
    return outctl.drawing.get(element);
  };
  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target)),
    { rootMargin: "600px" },
  );
  const wait = (element) => {
    waiting.add(element);
    near.observe(element);
  };
  /** Draw every figure that stands above an element, which then keeps its place. */
  outctl.drawAbove = (target) => Promise.all(figures.filter((element) => outctl.above(element, target)).map(start));
  for (const element of figures) {
    wait(element);
    const name = element.dataset.figure;
    element.querySelector(".csv").addEventListener("click", async () => {
      const { rows } = await outctl.shown(name);
      outctl.download(`${name}.csv`, rows);
    });
  }
  outctl.listeners.push((key) => {
    for (const element of figures) {
      const { compared, all } = outctl.page.figures[element.dataset.figure];
      const changed = { theme: true, model: !all, other: compared }[key];
      if (changed && !waiting.has(element)) {
        delete element.dataset.drawn;
        wait(element);
      }
    }
  });
};

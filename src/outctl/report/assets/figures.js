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

outctl.theme = () =>
  outctl.coloured({ ...outctl.page.theme, font: getComputedStyle(document.documentElement).fontFamily });

outctl.drawing = new Map();
/** Draw a figure, after what is still being drawn of it. */
outctl.draw = (element) => {
  const before = outctl.drawing.get(element) ?? Promise.resolve();
  const now = before.then(() => outctl.drawn(element));
  outctl.drawing.set(element, now);
  return now;
};

/** The rows of a figure that its panels show now, and what each panel says of itself. */
outctl.shown = async (name) => {
  const figure = outctl.page.figures[name];
  const { model, other } = outctl.state;
  const block = (await outctl.block(`figures:${figure.together ? "" : model}`))[name] ?? { rows: [], panels: {} };
  const wanted = [outctl.page.baseline, other];
  const rows = figure.compared ? block.rows.filter((row) => wanted.includes(row.variant)) : block.rows;
  return { figure, rows, texts: block.panels };
};

/** The panels of a figure in order: every place in every view that has rows. */
outctl.panels = (figure, rows) => {
  const several = figure.together && outctl.page.models.length > 1;
  const places = new Map();
  for (const row of rows) {
    const place = figure.panels.map((key) => row[key]);
    const name = JSON.stringify(place);
    if (!places.has(name)) {
      places.set(name, { place, own: [] });
    }
    places.get(name).own.push(row);
  }
  return [...places.values()].flatMap(({ place, own }) =>
    figure.views
      .map(({ title, chart, where }) => ({
        key: [...place, title].filter(Boolean).join(" · "),
        titles: [...place.filter((_, number) => several || figure.panels[number] !== "model"), title].filter(Boolean),
        chart,
        rows: own.filter((row) => Object.entries(where).every(([key, value]) => row[key] === value)),
      }))
      .filter((panel) => panel.rows.length),
  );
};

outctl.drawn = async (element) => {
  const name = element.dataset.figure;
  const { figure, rows, texts } = await outctl.shown(name);
  (outctl.views.get(name) ?? []).forEach((view) => view.finalize());
  const panels = outctl.panels(figure, rows);
  const box = element.querySelector(".panels");
  box.classList.toggle("single", panels.length <= 1);
  box.replaceChildren();
  element.querySelector(".legend").replaceChildren(...outctl.legend(figure, rows));
  if (!rows.length) {
    box.append(outctl.element("p", { class: "nothing" }, "Nothing of this was measured for this model."));
  }
  const config = outctl.theme();
  const views = [];
  for (const { key, titles, chart, rows: own } of panels) {
    const { text, samples } = texts[key];
    // Vega gives the element that it draws in a role of its own.
    const canvas = outctl.element("div", { class: "canvas" });
    const plot = outctl.element("div", { class: "plot", role: "img", "aria-label": text }, canvas);
    box.append(outctl.element("div", { class: "panel" }, outctl.panelTitle(titles, samples), plot));
    const coloured = outctl.coloured(chart);
    const spec = { ...coloured, datasets: { ...coloured.datasets, rows: own } };
    // Errors alone: a layer without rows, such as intervals where there are none, is worth no warning.
    const options = { actions: false, renderer: "svg", config, logLevel: 1, tooltip: { theme: "outctl" } };
    const { view } = await vegaEmbed(canvas, spec, options);
    if (figure.compared) {
      view.addEventListener("click", (_, item) => item?.datum?.sample_id && outctl.find(item.datum.case_type, item.datum.sample_id));
    }
    views.push(view);
  }
  outctl.views.set(name, views);
  element.dataset.drawn = "";
  outctl.fillNumbers(element, rows, figure.compared ? { sample_id: outctl.linkToSample } : {});
};

/** A link from a row of a figure to its sample, where the keyboard reaches what a click on the mark does. */
outctl.linkToSample = (row) => {
  const link = outctl.element("a", { href: "#samples" }, row.sample_id);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    outctl.find(row.case_type, row.sample_id);
  });
  return link;
};

/** The title of a panel: each part but the first has a line of its own, and so has the number of samples. */
outctl.panelTitle = ([first, ...further], samples) => {
  const below = samples === null ? further : [...further, `n = ${samples}`];
  const lines = below.map((text) => outctl.element("span", {}, text));
  return first || lines.length ? outctl.element("p", { class: "panel-title" }, first, ...lines) : null;
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

/** The legend of a figure: its entries that have rows, and those that always stand there. */
outctl.legend = (figure, rows) => {
  const entry = ({ name, colour, path, line, dash }) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 12 12");
    svg.setAttribute("aria-hidden", "true");
    drawn.setAttribute("d", path);
    drawn.setAttribute("stroke-dasharray", dash.join(" "));
    drawn.style.fill = line ? "none" : colour;
    drawn.style.stroke = line ? colour : "none";
    drawn.style.strokeWidth = "1.5";
    svg.append(drawn);
    return outctl.element("span", {}, svg, name);
  };
  const present = new Set(rows.map((row) => row[figure.key]));
  return figure.legend.filter(({ name, always }) => always || present.has(name)).map(entry);
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
      const { compared, together } = outctl.page.figures[element.dataset.figure];
      const changed = { theme: true, model: !together, other: compared }[key];
      if (changed && !waiting.has(element)) {
        delete element.dataset.drawn;
        wait(element);
      }
    }
  });
};

"use strict";
// The sample browser: every question with its answers, the baseline's beside another variant's.
outctl.PAGE = 20;
outctl.browser = { rows: [], shown: 0 };

outctl.percent = (value) => {
  const percent = 100 * value;
  return `${percent === 0 || percent >= 0.1 ? percent.toFixed(1) : "<0.1"} %`;
};

outctl.RESULTS = {
  any: ["any", () => true],
  passes: ["{other}: yes", (row) => row.after.ok],
  fails: ["{other}: no", (row) => !row.after.ok],
  passed: ["{baseline}: yes", (row) => row.before.ok],
  failed: ["{baseline}: no", (row) => !row.before.ok],
  gained: ["gained: only {other}", (row) => row.after.ok && !row.before.ok],
  lost: ["lost: only {baseline}", (row) => row.before.ok && !row.after.ok],
};
outctl.SORTS = {
  changed: ["changed most", (row) => -Math.abs(row.after.tvd - row.before.tvd)],
  improved: ["improved most", (row) => row.after.tvd - row.before.tvd],
  worsened: ["worsened most", (row) => row.before.tvd - row.after.tvd],
  worst: ["largest TVD of {other}", (row) => -row.after.tvd],
  best: ["smallest TVD of {other}", (row) => row.after.tvd],
  baseline: ["largest TVD of {baseline}", (row) => -row.before.tvd],
  asked: ["share asked for first", (row) => row.question.target[0]],
  order: ["order of the questions", (row) => row.number],
};

/** The choices that make sense, with the names of the variants; without another variant there is nothing to compare. */
outctl.choices = (select, all, single) => {
  const { baseline } = outctl.page;
  const { other } = outctl.state;
  const before = select.value;
  const names = Object.keys(all).filter((name) => other || single.includes(name));
  const label = (name) => all[name][0].replaceAll("{other}", other ?? baseline).replaceAll("{baseline}", baseline);
  select.replaceChildren(...names.map((name) => outctl.element("option", { value: name }, label(name))));
  select.value = names.includes(before) ? before : names[0];
};

/** All samples of a model with the answers of the baseline and another variant. */
outctl.pairs = async () => {
  const { model, other } = outctl.state;
  const [questions, answers] = await Promise.all([outctl.block("questions"), outctl.block(`answers:${model}`)]);
  // An adapter from elsewhere may be for other models alone.
  if (other && !(other in answers)) return [];
  const { baseline, cases } = outctl.page;
  let number = 0;
  return cases.flatMap((name) =>
    questions[name].map((question, index) => {
      const before = answers[baseline][name][index];
      const after = other ? answers[other][name][index] : before;
      const asked = question.messages.at(-1)[1];
      const text = [asked, question.id, ...before.words, ...after.words].join("\n").toLowerCase();
      return { case: name, number: number++, question, before, after, asked, text };
    }),
  );
};

outctl.browse = () => {
  outctl.listing = outctl.listed();
  return outctl.listing;
};

/** List the samples, unless that has begun. */
outctl.list = () => outctl.listing ?? outctl.browse();

outctl.listed = async () => {
  const value = (name) => document.getElementById(name).value;
  const wanted = value("search").trim().toLowerCase();
  const [, fits] = outctl.RESULTS[value("result")];
  const [, order] = outctl.SORTS[value("sort")];
  const all = await outctl.pairs();
  const rows = all.filter((row) => (!value("case") || row.case === value("case")) && fits(row) && row.text.includes(wanted));
  rows.sort((one, two) => order(one) - order(two) || one.number - two.number);
  outctl.browser = { rows, shown: 0 };
  document.getElementById("count").textContent = `${rows.length} of ${all.length} samples`;
  document.getElementById("list").replaceChildren();
  outctl.showMore();
};

outctl.showMore = () => {
  const { rows, shown } = outctl.browser;
  const next = rows.slice(shown, shown + outctl.PAGE);
  document.getElementById("list").append(...next.map(outctl.sample));
  outctl.browser.shown = shown + next.length;
  const more = document.getElementById("more");
  more.hidden = outctl.browser.shown >= rows.length;
  more.textContent = `Show ${Math.min(outctl.PAGE, rows.length - outctl.browser.shown)} more`;
};

outctl.answersOf = (row) => {
  const { baseline, colours } = outctl.page;
  const { other } = outctl.state;
  const named = [[baseline, row.before], ...(other ? [[other, row.after]] : [])];
  return named.map(([name, answer]) => ({ name, answer, colour: colours[name] }));
};

outctl.sample = (row) => {
  const { element } = outctl;
  const where = element("p", { class: "where" }, row.question.id);
  const asked = element("div", { class: "asked" }, where, element("p", { class: "question" }, row.asked));
  const more = element("details", { class: "more" }, element("summary", {}, "Conversation and likeliest first tokens"));
  more.addEventListener("toggle", () => more.open && more.childElementCount === 1 && more.append(...outctl.details(row)));
  return element("li", { class: "sample", "data-sample": row.question.id, tabindex: "-1" }, asked, outctl.bars(row), more);
};

outctl.bar = (value, colour, mark) => {
  const fill = outctl.element("i");
  fill.style.width = `${100 * Math.min(1, value)}%`;
  fill.style.background = colour;
  const bar = outctl.element("span", { class: "bar", "aria-hidden": "true" }, fill);
  if (mark !== null) {
    const line = outctl.element("b");
    line.style.left = `calc(${100 * mark}% - 1px)`;
    bar.append(line);
  }
  return bar;
};

outctl.given = (value, colour, mark) =>
  outctl.element("span", { class: "given" }, outctl.bar(value, colour, mark), outctl.element("span", { class: "n" }, outctl.percent(value)));

/** A row a word with its share asked for and the probabilities that it was given. */
outctl.bars = (row) => {
  const { element } = outctl;
  const answers = outctl.answersOf(row);
  const { target, atMost } = row.question;
  const alike = answers.every(({ answer }) => answer.words.join("\n") === answers[0].answer.words.join("\n"));
  const own = !alike || "valid" in row.before;
  const heads = answers.map(({ name, answer }) =>
    element(
      "th",
      { scope: "col" },
      element("b", {}, name),
      // Words that are not as asked fail, however near their shares are.
      element("span", { class: "verdict" }, `${answer.ok ? "✓" : "✗"} TVD ${answer.tvd.toFixed(3)}${answer.valid === false ? ", words not valid" : ""}`),
      element("span", { class: "hidden" }, answer.ok ? "within tolerance" : "not within tolerance"),
    ),
  );
  const head = element("tr", {}, element("th", { scope: "col" }, own ? "its words" : "word"), element("th", { scope: "col", class: "n" }, "asked"), ...heads);
  const lines = target.map((share, index) => {
    const limit = atMost && index === 0 ? "≤ " : "";
    const askedFor = atMost && index > 0 ? "" : `${limit}${Math.round(1000 * share) / 10} %`;
    const cells = answers.map(({ answer, colour }) => {
      const word = own ? element("span", { class: "own" }, answer.words[index]) : null;
      return element("td", {}, word, outctl.given(answer.p[index], colour, share));
    });
    const name = own ? ["likeliest", "second"][index] ?? `${index + 1}.` : answers[0].answer.words[index];
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "n" }, askedFor), ...cells);
  });
  const rest = answers.map(({ answer, colour }) => element("td", {}, outctl.given(answer.other, colour, null)));
  const other = element("tr", { class: "other" }, element("th", { scope: "row" }, "anything else"), element("td", { class: "n" }, "0 %"), ...rest);
  const caption = element("caption", { class: "hidden" }, `Probabilities in ${row.question.id}; marks are the shares asked for`);
  return element("table", { class: "bars" }, caption, element("thead", {}, head), element("tbody", {}, ...lines, other));
};

outctl.details = (row) => {
  const { element } = outctl;
  const turns = row.question.messages.flatMap(([role, content]) => [element("dt", {}, role), element("dd", {}, content)]);
  const tokens = outctl.answersOf(row).map(({ name, answer, colour }) => {
    const lines = answer.tokens.map(([text, probability]) =>
      element("tr", {}, element("td", {}, JSON.stringify(text)), element("td", {}, outctl.bar(probability, colour, null)), element("td", {}, outctl.percent(probability))),
    );
    const notes = [];
    if ("valid" in answer) {
      notes.push(answer.valid ? "words as rare as asked" : "words not valid: not distinct rare English words");
    }
    if ("free" in answer) {
      notes.push(`unasked, the first word takes ${outctl.percent(answer.free)} of the words' probability`);
    }
    const caption = element("caption", {}, [`${name}, first tokens`, ...notes].join("; "));
    return element("table", { class: "tokens" }, caption, element("tbody", {}, ...lines));
  });
  return [element("dl", { class: "turns" }, ...turns), element("div", { class: "beside" }, ...tokens)];
};

outctl.sampleRows = () =>
  outctl.browser.rows.flatMap((row) =>
    outctl.answersOf(row).map(({ name, answer }) => ({
      model: outctl.state.model,
      variant: name,
      case: row.case,
      sample: row.question.id,
      question: row.asked,
      words: answer.words.join(" / "),
      asked: row.question.target.join(" / "),
      given: answer.p.join(" / "),
      other: answer.other,
      tvd: answer.tvd,
      within_tolerance: answer.ok,
    })),
  );

/** Open the sample that a point of a figure stands for, and go there: back leads to the figure again. */
outctl.find = async (name, sample) => {
  await outctl.drawAbove(document.getElementById("samples"));
  location.hash = "samples";
  document.getElementById("case").value = name;
  document.getElementById("result").value = "any";
  document.getElementById("search").value = sample;
  await outctl.browse();
  const found = document.querySelector(`.sample[data-sample="${CSS.escape(sample)}"]`);
  found.querySelector(".more").open = true;
  outctl.goTo(found);
};

/** Give a sample the focus, from where the keyboard goes on. */
outctl.goTo = (sample) => {
  sample.focus({ preventScroll: true });
  sample.scrollIntoView({ block: "start" });
};

outctl.startBrowser = () => {
  const fill = () => {
    outctl.choices(document.getElementById("result"), outctl.RESULTS, ["any", "passes", "fails"]);
    outctl.choices(document.getElementById("sort"), outctl.SORTS, ["worst", "best", "asked", "order"]);
  };
  fill();
  const form = document.querySelector(".filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["case", "result", "sort"]) {
    document.getElementById(name).addEventListener("change", outctl.browse);
  }
  document.getElementById("search").addEventListener("input", outctl.browse);
  document.getElementById("more").addEventListener("click", () => {
    const list = document.getElementById("list");
    const first = list.childElementCount;
    outctl.showMore();
    outctl.goTo(list.children[first]);
  });
  document.getElementById("samples-csv").addEventListener("click", () => outctl.download("samples.csv", outctl.sampleRows()));
  const near = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        near.disconnect();
        outctl.list();
      }
    },
    { rootMargin: "800px" },
  );
  near.observe(document.getElementById("samples"));
  outctl.listeners.push((key) => {
    if (key !== "theme") {
      fill();
      if (outctl.listing) {
        outctl.browse();
      }
    }
  });
};

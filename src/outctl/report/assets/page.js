"use strict";
// The choices of the whole page: model, variant beside the baseline, and theme.
{
  const { page, state } = outctl;
  state.model = page.models[0];
  state.other = page.shown ?? undefined;

  // The same choice stands above the figures and in the sample browser.
  const twins = { model: ["model", "browse-model"], other: ["other", "browse-other"] };
  for (const [key, names] of Object.entries(twins)) {
    const selects = names.map((name) => document.getElementById(name)).filter(Boolean);
    for (const select of selects) {
      select.value = state[key];
      select.addEventListener("change", () => {
        selects.forEach((twin) => {
          twin.value = select.value;
        });
        outctl.set(key, select.value);
      });
    }
  }

  const theme = document.getElementById("theme");
  const follow = () => {
    document.documentElement.style.colorScheme = theme.value;
  };
  // A reloading browser keeps what was chosen.
  follow();
  theme.addEventListener("change", () => {
    follow();
    outctl.set("theme", theme.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => outctl.listeners.forEach((listener) => listener("theme")));

  const steps = JSON.parse(document.getElementById("step-rows").textContent);
  document.getElementById("steps-csv").addEventListener("click", () => outctl.download("steps.csv", steps));

  outctl.startFigures();
  outctl.startBrowser();

  // The browser goes there at once, past places where figures and samples are still to come: they would push it away again.
  const arrive = async (id) => {
    const target = document.getElementById(id);
    const samples = document.getElementById("samples");
    await Promise.all([outctl.drawAbove(target), outctl.above(samples, target) && outctl.list()]);
    target.scrollIntoView();
  };
  for (const link of document.querySelectorAll(".top nav a")) {
    link.addEventListener("click", (event) => {
      // With a key held the link opens elsewhere.
      if (!(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey)) {
        arrive(link.hash.slice(1));
      }
    });
  }
  if (document.getElementById(location.hash.slice(1))) {
    arrive(location.hash.slice(1));
  }
}

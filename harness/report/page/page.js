"use strict";
// Which scenarios are shown, and the way from place to place.
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};
const scenarios = [...document.querySelectorAll(".scenario")];

const filters = (() => {
  const search = document.getElementById("search");
  const buttons = [...document.querySelectorAll("#filters button")];
  const status = document.getElementById("shown");
  // All that is written of a scenario, its failure as well; read when somebody first searches.
  const written = new Map();
  const textOf = (each) => {
    if (!written.has(each)) written.set(each, each.textContent.toLowerCase());
    return written.get(each);
  };
  let only = null; // a block of the matrix: { part, module }
  const wanted = (button) => button.getAttribute("aria-pressed") === "true";
  const apply = () => {
    const shown = new Set(buttons.filter(wanted).map((button) => button.dataset.outcome));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const each of scenarios) {
      const data = each.dataset;
      each.hidden = !shown.has(data.outcome) || !words.every((word) => textOf(each).includes(word)) ||
        (only !== null && (data.part !== only.part || data.module !== only.module));
      if (!each.hidden) count += 1;
    }
    const where = only ? ` of ${only.module} in ${only.part}; Esc shows all` : "";
    status.textContent = count === scenarios.length && !only ? "" : `${count} of ${scenarios.length} shown${where}`;
  };
  for (const button of buttons)
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!wanted(button)));
      apply();
    });
  search.addEventListener("input", apply);
  // Where most passed and some did not, those that did not are what is looked for.
  const reset = (quiet) => {
    only = null;
    search.value = "";
    const wrong = scenarios.some((each) => !["PASS", "SKIP"].includes(each.dataset.outcome));
    for (const button of buttons)
      button.setAttribute("aria-pressed", String(!(quiet && wrong && scenarios.length > 300 && button.dataset.outcome === "PASS")));
    apply();
  };
  reset(true);
  return {
    search,
    reset: () => reset(false),
    block: (part, module) => {
      reset(false);
      only = { part, module };
      apply();
    },
  };
})();

const go = (each) => {
  if (!each) return;
  each.hidden = false;
  each.open = true;
  each.scrollIntoView({ block: "start" });
  each.querySelector("summary").focus({ preventScroll: true });
};

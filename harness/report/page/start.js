"use strict";
// Keys, links and the place that the address names: #s20 is a scenario, #s20/frame/3 one of its frames.
for (const each of scenarios)
  each.addEventListener("toggle", () => { if (each.open) for (const place of each.querySelectorAll(".timeline")) timelines.show(place); });

const follow = async () => {
  const [, id, entry] = /^#(s\d+)(?:\/((?:frame|far|event|socket)\/\d+))?$/.exec(location.hash) ?? [];
  const each = id && document.getElementById(id);
  if (!each) return;
  go(each);
  if (!entry) return;
  for (const place of each.querySelectorAll(".timeline")) await timelines.show(place);
  const found = each.querySelector(`[data-place="${entry}"]`);
  if (!found) return;
  if (found.tagName === "DETAILS") found.open = true;
  found.scrollIntoView({ block: "center" });
};
addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const block = event.target.closest("a[data-part]");
  if (!block) return;
  event.preventDefault();
  filters.block(block.dataset.part, block.dataset.module);
  document.getElementById("scenarios").scrollIntoView();
});
addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT") { if (event.key === "Escape") event.target.blur(); return; }
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "/") { event.preventDefault(); filters.search.focus(); return; }
  if (event.key === "Escape") { filters.reset(); return; }
  if (event.key === "t") { timelines.turn(); return; }
  if (event.key !== "n" && event.key !== "p") return;
  const wrong = scenarios.filter((each) => !["PASS", "SKIP"].includes(each.dataset.outcome) && !each.hidden);
  if (!wrong.length) return;
  const now = wrong.indexOf(document.activeElement?.closest(".scenario"));
  go(wrong[event.key === "n" ? (now + 1) % wrong.length : (now <= 0 ? wrong.length : now) - 1]);
});
// On paper there is nothing to open: what did not pass is open there, with its timeline. That takes time to unpack, which
// a printer does not wait for, so it is done as soon as there is nothing else to do.
const MOST_PRINTED = 60, PAPER = 680; // pixels between the margins of A4
const forPaper = scenarios.filter((each) => !["PASS", "SKIP"].includes(each.dataset.outcome)).slice(0, MOST_PRINTED);
addEventListener("beforeprint", () => {
  for (const each of forPaper) if (!each.hidden) each.open = true;
  timelines.paintAll(PAPER);
});
addEventListener("afterprint", () => timelines.paintAll());
addEventListener("load", () => setTimeout(async () => {
  for (const each of forPaper) for (const place of each.querySelectorAll(".timeline")) await timelines.show(place);
}, 500));
follow();

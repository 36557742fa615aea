"use strict";
// One timeline of a scenario: a lane for each witness, and below it every entry, which opens to what is in it.
const timelines = (() => {
  const LANES = ["frame", "far", "event", "socket", "step", "replay"];
  const WORDS = { frame: "wire", far: "far wire", event: "driver", socket: "sockets", step: "harness", replay: "replay" };
  const MARKS = ["", "saw", "nearest miss", "failed", "departure"];
  const ENDED = 3, DEPARTED = 4; // what ended the scenario; where a replay left its capture
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 66, RIGHT = 10, LANE = 24, TOP = 8;
  const drawn = new Map(); // place: what draws its strip anew
  let byTime = false;

  const draw = (name, attributes, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    parent.append(node);
    return node;
  };
  const clock = (seconds) => (Math.abs(seconds) < 1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(3)} s`);

  // "FAIL: claim: wanted X, saw Y. Nearest miss: Z", taken apart; of what is no expectation the words alone.
  const verdict = (text) => {
    const [, outcome, words] = /^([A-Z]+): ([\s\S]*)$/.exec(text) ?? [text, "", text];
    const [, claim, wanted, saw, nearest] =
      /^(expect\S*): wanted (.*?), saw (.*?)(?:\. Nearest miss: (.*?))?\.?$/.exec(words) ?? [];
    return { outcome, claim, said: claim ? [["wanted", wanted], ["saw", saw], ["nearest miss", nearest]].filter(([, has]) => has)
      : [[outcome, words]] };
  };

  // ---- what an entry opens to ----
  const fields = (rows) => {
    const opened = make("div", "opened");
    for (const [title, found] of rows) {
      if (title) opened.append(make("b", "", title));
      for (const [name, value, wrong] of found) opened.append(make("span", "", name), make("span", wrong ? "wrong" : "", String(value)));
    }
    return opened;
  };
  const bytesOf = (hex) => Uint8Array.from(hex.match(/[0-9a-f]{2}/gi) ?? [], (pair) => parseInt(pair, 16));
  const openFrame = (packed) => {
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const { layers, rest, end } = frameLayers.dissect(bytes);
    const opened = fields(layers);
    const last = Math.min(end ?? bytes.length, bytes.length);
    if (rest < last) opened.append(make("b", "", "bytes behind the headers"), make("pre", "", frameLayers.dump(bytes, rest, last)));
    return opened;
  };
  const openSocket = (call) => {
    const rows = (table) => Object.entries(table ?? {}).filter(([name]) => name !== "hex");
    const opened = fields([["asked", rows(call.asked)], ["answered", call.reply ? rows(call.reply) : [["", "nothing"]]]]);
    for (const [title, table] of [["bytes sent", call.asked], ["bytes received", call.reply]])
      if (typeof table?.hex === "string" && table.hex) {
        const bytes = bytesOf(table.hex);
        opened.append(make("b", "", title), make("pre", "", frameLayers.dump(bytes, 0, bytes.length)));
      }
    return opened;
  };
  const content = (lane, number, data) => {
    if (lane === "frame" && data.frames[number]) return () => openFrame(data.frames[number]);
    if (lane === "far" && data.far?.[number]) return () => openFrame(data.far[number]);
    if (lane === "event" && data.events[number]) return () => fields([["", Object.entries(data.events[number])]]);
    if (lane === "socket" && data.sockets?.[number]) return () => openSocket(data.sockets[number]);
    return null;
  };

  // ---- the strip ----
  // Steps and calls last: where the end of each is, by its entry.
  const ends = (data) => {
    const found = new Map(), open = new Map();
    data.entries.forEach(([time, lane, text, number], at) => {
      if (lane === "socket" && data.sockets?.[number]?.seconds) found.set(at, time + data.sockets[number].seconds);
      const step = lane === "step" && /^(\s*)(start|stop|error) (.*)$/.exec(text);
      if (!step) return;
      const name = step[1] + step[3].split(": ")[0];
      if (step[2] === "start") open.set(name, at);
      else for (const [begun, start] of open) if (name.startsWith(begun)) { found.set(start, time); open.delete(begun); break; }
    });
    return found;
  };
  const scale = (entries, width) => {
    const first = Math.min(0, entries[0][0]), last = Math.max(...entries.map((entry) => entry[0]), first + 0.001);
    if (byTime) return { place: (at) => LEFT + ((entries[at][0] - first) / (last - first)) * width,
      moment: (time) => LEFT + ((Math.min(time, last) - first) / (last - first)) * width };
    const place = (at) => LEFT + ((at + 0.5) / entries.length) * width;
    return { place, moment: (time) => {
      const next = entries.findIndex((entry) => entry[0] > time);
      return place(next < 0 ? entries.length - 1 : Math.max(next - 0.5, 0));
    } };
  };
  const strip = (data, rows, width) => {
    const lanes = LANES.filter((lane) => data.entries.some((entry) => entry[1] === lane));
    const ended = data.entries.findIndex((entry) => entry[4] === ENDED);
    const said = ended < 0 ? [] : verdict(data.entries[ended][2]).said.slice(0, 2);
    const top = TOP + said.length * 15;
    const height = top + lanes.length * LANE + 18;
    const svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of Object.entries({ class: "strip", viewBox: `0 0 ${width} ${height}`, height, role: "img",
      "aria-label": "what happened when, a lane for each witness; the list below says the same" })) svg.setAttribute(key, value);
    const inner = width - LEFT - RIGHT;
    const { place, moment } = scale(data.entries, inner);
    const until = ends(data);
    lanes.forEach((lane, row) => {
      const y = top + row * LANE + LANE / 2;
      draw("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "rail" }, svg);
      draw("text", { x: 0, y: y + 4, class: `lane ${lane}` }, svg).textContent = WORDS[lane];
    });
    // The ticks say what time it is, whether the places are by time or by order.
    let told = -100;
    data.entries.forEach((entry, at) => {
      const x = place(at);
      if (x - told < 84 || x > width - 40) return;
      told = x;
      draw("line", { x1: x, x2: x, y1: top, y2: height - 16, class: "tick" }, svg);
      draw("text", { x, y: height - 4, class: "tick" }, svg).textContent = clock(entry[0]);
    });
    // Where the scenario ended, through all lanes, and in words what was wanted there and what was seen.
    data.entries.forEach((entry, at) => {
      if (entry[4] === ENDED) draw("line", { x1: place(at), x2: place(at), y1: at === ended ? 4 : top, y2: height - 16, class: "end" }, svg);
    });
    said.forEach(([name, text], line) => {
      const x = place(ended), left = x > width / 2, most = Math.floor((left ? x : width - x) / 6.3) - 4;
      const words = `${name} ${text}`;
      const node = draw("text", { x: left ? x - 6 : x + 6, y: 13 + line * 15, class: `verdict ${left ? "left" : ""}` }, svg);
      draw("tspan", { class: name }, node).textContent = name;
      node.append(words.slice(name.length, Math.max(most, 12)) + (words.length > most ? "…" : ""));
      draw("title", {}, node).textContent = words;
    });
    data.entries.forEach((entry, at) => {
      const [time, lane, text, number, mark] = entry;
      const x = place(at), y = top + lanes.indexOf(lane) * LANE + LANE / 2;
      const group = draw("g", { class: `mark ${lane} ${MARKS[mark].split(" ")[0]}` }, svg);
      draw("title", {}, group).textContent = `${clock(time)} ${number ? `${lane === "far" ? "far frame" : lane} ${number}: ` : ""}${text}`;
      if (until.has(at)) draw("rect", { x, y: y - 3, width: Math.max(3, moment(until.get(at)) - x), height: 6, rx: 3 }, group);
      if (mark === ENDED) draw("path", { d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10`, class: "cross" }, group);
      else if (mark === DEPARTED) draw("path", { d: `M${x - 6} ${y}l6 -6l6 6l-6 6z` }, group);
      else if (lane === "step" && !/^\s*start/.test(text)) draw("rect", { x: x - 1, y: y - 5, width: 2, height: 10 }, group);
      else if (lane === "frame" || lane === "far") {
        const down = text.includes("to-guest") ? 1 : -1;
        draw("path", { d: `M${x - 5} ${y - 4 * down}h10l-5 ${9 * down}z` }, group);
      } else draw("circle", { cx: x, cy: y, r: lane === "step" ? 3 : 4.5 }, group);
      if (mark && mark < ENDED) {
        draw("circle", { cx: x, cy: y, r: 9, class: "ring" }, group);
        draw("text", { x, y: y - 11, class: "said" }, group).textContent = number;
      }
      group.addEventListener("click", () => {
        if (rows[at].tagName === "DETAILS") rows[at].open = true;
        rows[at].scrollIntoView({ block: "center" });
        rows[at].classList.add("hit");
        setTimeout(() => rows[at].classList.remove("hit"), 1500);
      });
    });
    return svg;
  };

  // ---- the list ----
  const row = (entry, data, scenario) => {
    const [time, lane, text, number, mark] = entry;
    if (mark === ENDED) return judged(entry, data, scenario);
    const what = make("span", "what", (number ? number + "  " : "") + text);
    if (mark) what.prepend(make("span", "tag " + MARKS[mark].split(" ")[0], MARKS[mark]), " ");
    const line = [make("span", "time", clock(time)), make("span", "lane " + lane, WORDS[lane]), what];
    const opens = content(lane, number, data);
    const node = make(opens ? "details" : "div", (opens ? "entry" : "plain") + (mark ? " marked" : ""));
    if (number) node.dataset.place = `${lane}/${number}`;
    if (!opens) { node.append(...line); return node; }
    const summary = make("summary");
    summary.append(...line);
    node.append(summary);
    node.addEventListener("toggle", () => { if (node.open && node.children.length === 1) node.append(opens()); });
    return node;
  };
  // Frames and events that a text names, as links to where they stand.
  const linked = (text, scenario, data) => text.split(/((?:far frame|frame|event) \d+)/).map((part) => {
    const named = /^(far frame|frame|event) (\d+)$/.exec(part);
    const [table, lane] = { "far frame": ["far", "far"], frame: ["frames", "frame"], event: ["events", "event"] }[named?.[1]] ?? [];
    if (!data[table]?.[named[2]]) return part;
    const link = make("a", "", part);
    link.href = `#${scenario.id}/${lane}/${named[2]}`;
    return link;
  });
  // What ended the scenario, at its time, naming frames that can be gone to.
  const judged = ([time, lane, text], data, scenario) => {
    const { claim, said } = verdict(text);
    const node = make("div", "plain judged");
    const words = make("span", "what");
    for (const [name, told] of said) {
      const line = make("div");
      line.append(make("span", "tag " + name.split(" ")[0], name), " ", ...linked(told, scenario, data));
      words.append(line);
    }
    if (claim) words.prepend(make("div", "claim", claim));
    node.append(make("span", "time", clock(time)), make("span", "lane " + lane, WORDS[lane]), words);
    return node;
  };
  // Runs of an earlier wfp-hil have not written down when it was: it stands behind the last that is known.
  const LANE_OF = { witness: "frame", "far.witness": "far", trace: "event", listener: "socket", connection: "socket", value: "socket" };
  const addVerdict = (data, scenario) => {
    const message = scenario.querySelector(".message")?.textContent;
    if (!message || data.entries.some((entry) => entry[4] === ENDED)) return;
    const line = message.split("\n")[0].replace(/ Timeline: .*/, ""), end = data.entries[data.entries.length - 1][0];
    const lane = LANE_OF[/^expect\(([\w.]+)\)/.exec(line)?.[1]] ?? "step";
    data.entries.push([end, lane, `${scenario.dataset.outcome}: ${line}`, 0, ENDED]);
  };
  const show = async (place) => {
    const packed = place.dataset.packed;
    if (!packed) { drawn.get(place)?.(); return; } // it may have been made while it was closed, and had no width
    delete place.dataset.packed;
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const data = JSON.parse(await new Response(stream).text());
    const scenario = place.closest(".scenario");
    addVerdict(data, scenario);
    const rows = data.entries.map((entry) => row(entry, data, scenario));
    const head = make("div", "turn");
    const button = make("button", "", "");
    button.type = "button";
    button.addEventListener("click", () => turn());
    head.append(make("span", "facts", "▼ to the guest  ▲ from the guest"), button);
    const holder = make("div");
    const paint = (width) => {
      button.textContent = byTime ? "spread by order" : "true to time";
      holder.replaceChildren(strip(data, rows, width || Math.floor(place.clientWidth) || 1000));
    };
    const message = scenario.querySelector(".message");
    if (message) message.replaceChildren(...linked(message.textContent, scenario, data));
    place.replaceChildren(head, holder, ...rows);
    drawn.set(place, paint);
    paint();
    place.dataset.shown = "yes";
    if (data.left_out) place.append(make("p", "", `${data.left_out} more entries are in timeline.txt.`));
  };
  const paintAll = (width) => { for (const paint of drawn.values()) paint(width); };
  const turn = () => {
    byTime = !byTime;
    paintAll();
  };
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; paintAll(); } });
  return { show, turn, paintAll };
})();

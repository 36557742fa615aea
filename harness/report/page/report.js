"use strict";
(() => {
  const scenarios = [...document.querySelectorAll(".scenario")];
  const search = document.getElementById("search");
  const buttons = [...document.querySelectorAll("#filters button")];

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // ---- which scenarios are shown ----
  const filter = () => {
    const shown = new Set(buttons.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.outcome));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const each of scenarios)
      each.hidden = !shown.has(each.dataset.outcome) || !words.every((word) => each.dataset.words.includes(word));
  };
  for (const button of buttons)
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  search.addEventListener("input", filter);

  // ---- frames: what a person wants to read of one ----
  const u16 = (b, at) => (b[at] << 8) | b[at + 1];
  const u32 = (b, at) => u16(b, at) * 65536 + u16(b, at + 2);
  const hex = (value, digits) => "0x" + value.toString(16).padStart(digits, "0");
  const mac = (b, at) => [...b.slice(at, at + 6)].map((x) => x.toString(16).padStart(2, "0")).join(":");
  const ip4 = (b, at) => [...b.slice(at, at + 4)].join(".");
  const ip6 = (b, at) => {
    const words = [];
    for (let i = 0; i < 16; i += 2) words.push(u16(b, at + i).toString(16));
    const zeros = words.join(":").match(/(^|:)0(:0)+(:|$)/g);
    if (!zeros) return words.join(":");
    const longest = zeros.reduce((a, c) => (c.length > a.length ? c : a));
    return words.join(":").replace(longest, "::");
  };
  const sum = (b, from, to, start) => {
    let total = start;
    for (let i = from; i < to; i += 2) total += (b[i] << 8) | (i + 1 < to ? b[i + 1] : 0);
    while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65536);
    return total;
  };
  const verdict = (good, seen) => [hex(seen, 4) + (good ? " (correct)" : " (WRONG)"), !good];
  const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
  const options = (b, from, to) => {
    const found = [];
    for (let at = from; at < to; ) {
      const kind = b[at];
      if (kind === 0) break;
      if (kind === 1) { at += 1; continue; }
      const length = b[at + 1];
      if (length < 2 || at + length > to) { found.push("malformed"); break; }
      if (kind === 2 && length === 4) found.push("MSS " + u16(b, at + 2));
      else if (kind === 3 && length === 3) found.push("window scale " + b[at + 2]);
      else if (kind === 4) found.push("SACK permitted");
      else if (kind === 5) found.push("SACK");
      else if (kind === 8) found.push("timestamps");
      else found.push("option " + kind);
      at += length;
    }
    return found.join(", ");
  };
  const dump = (b, from, to) => {
    const lines = [];
    for (let at = from; at < to; at += 16) {
      const row = [...b.slice(at, Math.min(at + 16, to))];
      const left = row.map((x) => x.toString(16).padStart(2, "0")).join(" ").padEnd(48);
      lines.push(`${(at - from).toString(16).padStart(4, "0")}  ${left} ${row.map((x) => (x > 31 && x < 127 ? String.fromCharCode(x) : ".")).join("")}`);
    }
    return lines.join("\n");
  };
  const transport = (layers, b, at, end, protocol, pseudo, whole) => {
    if (protocol === 6 && at + 20 <= end) {
      const header = (b[at + 12] >> 4) * 4;
      const checked = whole ? verdict(sum(b, at, end, pseudo + 6 + end - at) === 0xffff, u16(b, at + 16)) : [hex(u16(b, at + 16), 4) + " (not checked: cut)"];
      layers.push(["TCP", [["source port", u16(b, at)], ["destination port", u16(b, at + 2)], ["sequence", u32(b, at + 4)],
        ["acknowledgement", u32(b, at + 8)], ["flags", FLAGS.filter((_, bit) => b[at + 13] & (1 << bit)).join(" ") || "none"],
        ["window", u16(b, at + 14)], ["checksum", ...checked], ["options", options(b, at + 20, Math.min(at + header, end)) || "none"],
        ["payload", Math.max(0, end - at - header) + " bytes"]]]);
      return at + header;
    }
    if (protocol === 17 && at + 8 <= end) {
      const none = u16(b, at + 6) === 0;
      const checked = none ? ["none"] : whole ? verdict(sum(b, at, end, pseudo + 17 + end - at) === 0xffff, u16(b, at + 6)) : [hex(u16(b, at + 6), 4) + " (not checked: cut)"];
      layers.push(["UDP", [["source port", u16(b, at)], ["destination port", u16(b, at + 2)], ["length", u16(b, at + 4)], ["checksum", ...checked]]]);
      return at + 8;
    }
    if ((protocol === 1 || protocol === 58) && at + 4 <= end) {
      const start = protocol === 58 ? pseudo + 58 + end - at : 0;
      const checked = whole ? verdict(sum(b, at, end, start) === 0xffff, u16(b, at + 2)) : [hex(u16(b, at + 2), 4) + " (not checked: cut)"];
      layers.push([protocol === 1 ? "ICMP" : "ICMPv6", [["type", b[at]], ["code", b[at + 1]], ["checksum", ...checked]]]);
      return at + 4;
    }
    return at;
  };
  const dissect = (b) => {
    const layers = [];
    if (b.length < 14) return { layers, rest: 0 };
    let type = u16(b, 12), at = 14;
    layers.push(["Ethernet", [["destination", mac(b, 0)], ["source", mac(b, 6)], ["type", hex(type, 4)]]]);
    if (type === 0x8100 && b.length >= 18) {
      layers.push(["VLAN", [["id", u16(b, 14) & 0xfff]]]);
      type = u16(b, 16); at = 18;
    }
    if (type === 0x0806 && b.length >= at + 28) {
      layers.push(["ARP", [["operation", u16(b, at + 6) === 1 ? "request" : u16(b, at + 6) === 2 ? "reply" : u16(b, at + 6)],
        ["sender", `${ip4(b, at + 14)} at ${mac(b, at + 8)}`], ["target", `${ip4(b, at + 24)} at ${mac(b, at + 18)}`]]]);
      return { layers, rest: at + 28 };
    }
    if (type === 0x0800 && b.length >= at + 20) {
      const header = (b[at] & 15) * 4, total = u16(b, at + 2), end = Math.min(b.length, at + total);
      const fragment = u16(b, at + 6), offset = (fragment & 0x1fff) * 8;
      if (header < 20 || at + header > b.length) return { layers, rest: at };
      layers.push(["IPv4", [["source", ip4(b, at + 12)], ["destination", ip4(b, at + 16)], ["protocol", b[at + 9]], ["TTL", b[at + 8]],
        ["total length", total], ["identification", hex(u16(b, at + 4), 4)],
        ["fragment", `${fragment & 0x4000 ? "DF " : ""}${fragment & 0x2000 ? "MF " : ""}offset ${offset}`],
        ["header checksum", ...verdict(sum(b, at, at + header, 0) === 0xffff, u16(b, at + 10))]]]);
      const whole = b.length >= at + total && !(fragment & 0x3fff);
      return { layers, rest: offset ? at + header : transport(layers, b, at + header, end, b[at + 9], sum(b, at + 12, at + 20, 0), whole), end };
    }
    if (type === 0x86dd && b.length >= at + 40) {
      const length = u16(b, at + 4), end = Math.min(b.length, at + 40 + length);
      layers.push(["IPv6", [["source", ip6(b, at + 8)], ["destination", ip6(b, at + 24)], ["next header", b[at + 6]], ["hop limit", b[at + 7]], ["payload length", length]]]);
      return { layers, rest: transport(layers, b, at + 40, end, b[at + 6], sum(b, at + 8, at + 40, 0), b.length >= at + 40 + length), end };
    }
    return { layers, rest: at };
  };

  // ---- one timeline ----
  const LANES = ["frame", "event", "socket", "step"];
  const WORDS = { frame: "wire", event: "driver", socket: "socket", step: "harness" };
  const SVG = "http://www.w3.org/2000/svg";
  const draw = (name, attributes, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    parent.append(node);
    return node;
  };
  const fields = (rows) => {
    const opened = make("div", "opened");
    for (const [title, found] of rows) {
      if (title) opened.append(make("b", "", title));
      for (const [name, value, wrong] of found) opened.append(make("span", "", name), make("span", wrong ? "wrong" : "", String(value)));
    }
    return opened;
  };
  const open = (lane, number, data) => {
    if (lane === "frame" && data.frames[number]) {
      const bytes = Uint8Array.from(atob(data.frames[number]), (c) => c.charCodeAt(0));
      const { layers, rest, end } = dissect(bytes);
      const opened = fields(layers);
      const last = Math.min(end ?? bytes.length, bytes.length);
      if (rest < last) opened.append(make("b", "", "bytes behind the headers"), make("pre", "", dump(bytes, rest, last)));
      return opened;
    }
    if (lane === "event" && data.events[number]) return fields([["", Object.entries(data.events[number])]]);
    return null;
  };
  const strip = (data, rows) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "strip");
    svg.setAttribute("viewBox", "0 0 1000 84");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", "what happened when, a lane for each witness; the list below says the same");
    const used = LANES.filter((lane) => data.entries.some((entry) => entry[1] === lane));
    const last = Math.max(...data.entries.map((entry) => entry[0]), 0.001);
    used.forEach((lane, row) => {
      const y = 12 + row * 20;
      draw("line", { x1: 70, x2: 990, y1: y, y2: y }, svg);
      draw("text", { x: 0, y: y + 4 }, svg).textContent = WORDS[lane];
      data.entries.forEach((entry, index) => {
        if (entry[1] !== lane) return;
        const x = 74 + (Math.max(entry[0], 0) / last) * 910;
        const dot = draw("circle", { cx: x, cy: y, r: 4.5, fill: `var(--${lane})`, class: entry[4] ? "marked" : "" }, svg);
        draw("title", {}, dot).textContent = `${entry[0].toFixed(4)} s ${entry[2]}`;
        dot.addEventListener("click", () => {
          if (rows[index].tagName === "DETAILS") rows[index].open = true;
          rows[index].scrollIntoView({ block: "center" });
        });
      });
    });
    return svg;
  };
  const show = async (place) => {
    const packed = place.dataset.packed;
    if (!packed) return;
    delete place.dataset.packed;
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const data = JSON.parse(await new Response(stream).text());
    const rows = data.entries.map(([time, lane, text, number, marked]) => {
      const line = [make("span", "time", time.toFixed(4) + " s"), make("span", "lane " + lane, WORDS[lane]), make("span", "what", (number ? number + ": " : "") + text)];
      if (!(lane === "frame" && data.frames[number]) && !(lane === "event" && data.events[number])) {
        const plain = make("div", "plain" + (marked ? " marked" : ""));
        plain.append(...line);
        return plain;
      }
      const entry = make("details", "entry" + (marked ? " marked" : ""));
      entry.dataset.place = `${lane}/${number}`;
      const summary = make("summary");
      summary.append(...line);
      entry.append(summary);
      entry.addEventListener("toggle", () => { if (entry.open && entry.children.length === 1) entry.append(open(lane, number, data)); });
      return entry;
    });
    place.replaceChildren(strip(data, rows), ...rows);
    place.dataset.shown = "yes";
    if (data.left_out) place.append(make("p", "", `${data.left_out} more entries are in timeline.txt.`));
  };
  for (const each of scenarios)
    each.addEventListener("toggle", () => { if (each.open) for (const place of each.querySelectorAll(".timeline")) show(place); });

  // ---- from place to place ----
  const go = (each) => {
    if (!each) return;
    each.hidden = false;
    each.open = true;
    each.scrollIntoView({ block: "start" });
    each.querySelector("summary").focus({ preventScroll: true });
  };
  // #s20 is a scenario, #s20/frame/3 one of its frames: a place that can be sent to somebody.
  const follow = async () => {
    const [, id, entry] = /^#(s\d+)(?:\/((?:frame|event)\/\d+))?$/.exec(location.hash) ?? [];
    const each = id && document.getElementById(id);
    if (!each) return;
    go(each);
    if (!entry) return;
    for (const place of each.querySelectorAll(".timeline")) await show(place);
    const found = each.querySelector(`[data-place="${entry}"]`);
    if (!found) return;
    found.open = true;
    found.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT") { if (event.key === "Escape") event.target.blur(); return; }
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "/") { event.preventDefault(); search.focus(); return; }
    if (event.key !== "n" && event.key !== "p") return;
    const wrong = scenarios.filter((each) => !["PASS", "SKIP"].includes(each.dataset.outcome) && !each.hidden);
    const now = wrong.indexOf(document.activeElement?.closest(".scenario"));
    go(wrong[event.key === "n" ? (now + 1) % wrong.length : (now <= 0 ? wrong.length : now) - 1]);
  });
  follow();
})();

"use strict";
// What a person wants to read of a frame: its layers, with checksums computed anew.
const frameLayers = (() => {
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
  return { dissect, dump };
})();

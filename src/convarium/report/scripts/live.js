// A page that a board serves: it asks each second for what has changed, and draws it where the reader has left it.
/* global el, fixed, show, fetch, scrollTo */
"use strict";

const SECOND = 1000;
const live = { ...JSON.parse(document.getElementById("live").textContent), tag: "", at: Date.now(), isLost: false, isHeld: false, next: null };
const spoken = el("p", { role: "status", "aria-live": "polite" }), whole = el("p"), rows = el("tbody"), heads = el("tr");
const box = el("section", { id: "now", "aria-label": "now" }, whole,
  el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "at work" }, el("table", {}, el("thead", {}, heads), rows)), spoken);

// Hours, minutes and seconds of a time to go that was `seconds` when it was last heard of.
function toGo(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const left = Math.max(0, Math.round(seconds - (Date.now() - live.at) / SECOND)), two = number => String(number).padStart(2, "0");
  return `${Math.floor(left / 3600)}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
}
const counted = counts => Object.entries(counts).map(([status, number]) => `${number} ${status}`).join(", ");
const bar = (share, name) => el("progress", { value: share, max: 1, "aria-label": `done of ${name}` });

// The cells of each row: texts, numbers or elements; a row keeps its place, so that a link in it keeps the focus.
function fill(names, numbers, lines) {
  const has = heads.children.length === names.length && [...heads.children].every((head, k) => head.textContent === names[k]);
  if (!has) heads.replaceChildren(...names.map((name, k) => el("th", { scope: "col", class: numbers[k] ? "n" : null }, name)));
  while (rows.children.length > lines.length) rows.lastChild.remove();
  lines.forEach((cells, place) => {
    const row = rows.children[place] ?? rows.appendChild(el("tr", {}, ...cells.map((_, k) => el(k ? "td" : "th", { scope: k ? null : "row", class: numbers[k] ? "n" : null }))));
    cells.forEach((cell, k) => {
      const before = row.children[k]?.firstChild, now = typeof cell === "string" ? document.createTextNode(cell) : cell;
      if (!row.children[k]) row.append(el("td"));
      if (before?.isEqualNode(now)) return;
      row.children[k].replaceChildren(now);
    });
  });
  rows.closest(".wide").hidden = !lines.length;
}

function drawLive() {
  const now = live.live;
  if (now.sweeps) {
    whole.textContent = now.sweeps.length ? `${now.sweeps.length} ${now.sweeps.length === 1 ? "sweep" : "sweeps"}` : "No sweep has begun here yet.";
    fill(["sweep", "", "jobs", "time to go"], [0, 0, 0, 1], now.sweeps.map(({ name, link, counts, running, to_go }) => {
      const sum = numbers => numbers.reduce((a, b) => a + b, 0), all = sum(Object.values(counts));
      const done = all - (counts.waiting ?? 0) - (counts.running ?? 0) + sum(running.map(({ share }) => share));
      return [el("a", { href: link }, name), bar(all ? done / all : 0, name), counted(counts), toGo(to_go)];
    }));
    return;
  }
  const to_go = toGo(now.to_go), monitor = now.running.find(job => job.score !== null)?.monitor ?? "";
  whole.replaceChildren(`${counted(now.counts) || "No job yet"}${to_go ? `; ${to_go} to go` : ""}`,
    ...now.up ? [" · ", el("a", { href: now.up }, "all sweeps")] : []);
  fill(["at work", "", "epoch", monitor, "time to go"], [0, 0, 1, 1, 1], now.running.map(({ job, share, where, score, left }) =>
    [job, bar(share, job), where, fixed(score, 4), toGo(left)]));
}

// What a redrawn page would lose: how far it is scrolled, what is open, what has the focus.
function keepPlace(redraw) {
  const nameOf = node => `${node.closest("section")?.id} ${node.tagName} ${(node.tagName === "DETAILS" ? node.firstChild : node).textContent}`;
  const open = new Set([...document.querySelectorAll("main details[open]")].map(nameOf)), { scrollX: x, scrollY: y } = window;
  const wide = [...document.querySelectorAll("main .wide")].map(node => [node.getAttribute("aria-label"), node.scrollLeft, node.scrollTop]);
  const active = document.activeElement, before = active && nameOf(active), main = document.querySelector("main");
  main.style.minHeight = `${main.offsetHeight}px`; // the page is not shorter meanwhile
  redraw();
  for (const details of document.querySelectorAll("main details")) if (open.has(nameOf(details))) details.open = true;
  for (const node of document.querySelectorAll("main .wide")) {
    const [, left, top] = wide.find(([label]) => label === node.getAttribute("aria-label")) ?? [];
    if (left || top) node.scrollTo(left, top);
  }
  if (active && !active.isConnected && document.activeElement === document.body)
    [...document.querySelectorAll(`main ${active.tagName}`)].find(node => nameOf(node) === before)?.focus({ preventScroll: true });
  scrollTo(x, y);
  main.style.minHeight = "";
}

function take({ version, live: now, data }) {
  live.live = now;
  live.at = Date.now();
  live.version = version;
  live.next = data ?? live.next;
}
function drawAll() {
  drawLive();
  if (!live.next || live.isHeld) return; // while a brush is drawn nothing moves
  const data = live.next;
  live.next = null;
  keepPlace(() => show(data));
}

async function ask() {
  let found = false;
  try {
    const answer = await fetch(`data.json?have=${live.version}`, { headers: live.tag ? { "If-None-Match": live.tag } : {}, cache: "no-store" });
    found = answer.ok || answer.status === 304;
    if (answer.ok) { take(await answer.json()); live.tag = answer.headers.get("ETag"); }
  } catch { found = false; }
  if (found === live.isLost) {
    live.isLost = !found;
    spoken.className = found ? "" : "lost";
    spoken.textContent = found ? "The board is there again." : "The board has gone: what is shown is as it was last. It is asked again every second.";
  }
  drawAll();
  setTimeout(ask, SECOND);
}

document.getElementById("head").after(box);
addEventListener("pointerdown", () => { live.isHeld = true; });
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { live.isHeld = false; });
drawLive();
setTimeout(ask, SECOND / 2);

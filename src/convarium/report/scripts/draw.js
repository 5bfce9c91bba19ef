// What every chart is drawn with: elements, numbers, scales, and marks that differ in color, dash and shape alike.
// Texts of the data become text nodes and attributes, never markup.
/* exported el, svg, fixed, compact, cut, apart, scale, axes, mark, legend, asTable, choices, roam, plot, extent */
"use strict";

const MARKS = 6; // colors, dashes and shapes before they repeat
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2"];
const SHAPES = ["M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,9h-10z", "M0,-5.5l5,5.5l-5,5.5l-5,-5.5z",
  "M-5,-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z", "M0,5l5,-9h-10z"];

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}
const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const fixed = (value, decimals) => value === null || value === undefined ? ""
  : Math.abs(value) < 1e9 ? value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
    : value.toExponential(3);

function compact(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, factor] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]])
    if (size >= factor * (unit === "k" ? 10 : 1)) return `${Number((value / factor).toPrecision(3))}${unit}`;
  return size < 1e-3 ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(4)));
}

const cut = (text, length = 24) => [...text].length > length ? [...text].slice(0, length - 1).join("") + "…" : text;

function apart(texts, length) { // cut so that they can be told apart: without what long ones all begin and end with
  const all = texts.map(text => [...text]), least = Math.min(...all.map(letters => letters.length));
  if (texts.length < 2 || all.every(letters => letters.length <= length)) return texts;
  const alike = at => all.every(letters => letters.at(at) === all[0].at(at));
  let head = 0, tail = 0;
  while (head < least && alike(head)) head++;
  while (tail < least - head && alike(-1 - tail)) tail++;
  return all.map(letters => {
    const own = letters.slice(head, letters.length - tail), room = length - (head > 0) - (tail > 0), first = Math.ceil((room - 1) / 2);
    const words = own.length > room ? [...own.slice(0, first), "…", ...own.slice(first + 1 - room)] : own;
    return `${head ? "…" : ""}${words.join("")}${tail ? "…" : ""}`;
  });
}

function extent(values) { // the ends of numbers, of which some may be missing
  let low = Infinity, high = -Infinity;
  for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  return low <= high ? [low, high] : [0, 1];
}

// From numbers to pixels. It is logarithmic if that is wanted, all are above 0, and they span a factor of 30.
function scale(values, from, to, wantsLog = false) {
  const [low, high] = extent(values);
  const log = wantsLog && low > 0 && high / low >= 30, turn = log ? Math.log10 : x => x, back = log ? x => 10 ** x : x => x;
  let [a, b] = [turn(low), turn(high)];
  const margin = (b - a) * 0.04 || Math.abs(a) * 0.05 || 0.5;
  [a, b] = [a - margin, b + margin];
  const at = value => from + (turn(value) - a) / (b - a) * (to - from);
  return { at, log, ticks: () => (log ? decades(a, b) : steps(a, b)).map(back), value: place => back(a + (place - from) / (to - from) * (b - a)) };
}
function steps(a, b) {
  const rough = (b - a) / 5, size = 10 ** Math.floor(Math.log10(rough)), step = size * [1, 2, 5, 10].find(k => k * size >= rough);
  return Array.from({ length: Math.floor(b / step) - Math.ceil(a / step) + 1 }, (_, k) => (Math.ceil(a / step) + k) * step)
    .map(value => Number(value.toPrecision(12)));
}
function decades(a, b) {
  const every = Math.ceil((b - a) / 6), within = b - a < 2 ? [1, 2, 5] : [1], found = [];
  for (let power = Math.floor(a); power <= b; power += every) for (const k of within) found.push(power + Math.log10(k));
  return found.filter(power => power >= a && power <= b);
}

// The frame of a chart: y at the left with lines across, x below; {left, right, top, bottom} in pixels.
function axes(box, y, xTicks, xTitle) {
  const lines = y.ticks().map(value => svg("g", {},
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(value), y2: y.at(value) }),
    svg("text", { x: box.left - 6, y: y.at(value) + 4, "text-anchor": "end" }, compact(value))));
  let end = -Infinity; // labels that would overlap the last one are left out
  const below = xTicks.map(({ at, text, tilt }) => {
    const half = text.length * 3.4;
    if (!tilt && at - half < end) return null;
    end = at + half + 6;
    const place = tilt ? { transform: `translate(${at},${box.bottom + 14}) rotate(-35)`, "text-anchor": "end" }
      : { x: at, y: box.bottom + 17, "text-anchor": "middle" };
    return svg("text", place, text);
  });
  return svg("g", { class: "axes" }, ...lines,
    svg("line", { class: "frame", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }), ...below,
    xTitle ? svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, xTitle) : null);
}

// An SVG that keyboards reach and readers hear about; what is drawn is told by its label and by the table below it.
const plot = (width, height, label, ...children) =>
  svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label }, ...children);

function mark(k) { // after the last color they begin anew, with other dashes and shapes
  const shifted = (k + Math.floor(k / MARKS)) % MARKS;
  return { class: `k${k % MARKS}`, dash: DASHES[shifted], shape: SHAPES[shifted] };
}

function legend(names, onPoint = () => {}) { // onPoint(k) as one is pointed at or focused; onPoint(null) after it
  const shown = apart(names, 60);
  return el("ul", { class: "legend" }, ...names.map((name, k) => {
    const { class: color, dash, shape } = mark(k);
    const sample = svg("svg", { width: 34, height: 12, class: color, "aria-hidden": "true" },
      svg("line", { class: "curve", x1: 0, x2: 34, y1: 6, y2: 6, "stroke-dasharray": dash }),
      svg("path", { class: "dot", d: shape, transform: "translate(17,6)" }));
    const point = () => onPoint(k), leave = () => onPoint(null);
    return el("li", {}, el("button", { type: "button", title: name, "data-focus": `legend ${k}`, pointerenter: point, pointerleave: leave,
      focus: point, blur: leave }, sample, shown[k]));
  }));
}

// A chart's numbers as a table, made when it is opened. rows: cells, the first heads the row.
function asTable(title, headings, rows, most = 500) {
  const details = el("details", { class: "numbers" }, el("summary", {}, title));
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("table")) return;
    const all = rows(), head = el("tr", {}, ...headings.map((text, k) => el("th", { scope: "col", class: k ? "n" : null }, text)));
    const lines = all.slice(0, most).map(([first, ...cells]) =>
      el("tr", {}, el("th", { scope: "row" }, first), ...cells.map(cell => el("td", { class: "n" }, cell))));
    details.append(el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": title },
      el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines))));
    if (all.length > most) details.append(el("p", {}, `and ${all.length - most} more`));
  });
  return details;
}

// The choices of a <select>, [value, text] each; what was chosen stays chosen. Returns the value.
function choices(id, options, first) {
  const select = document.getElementById(id), before = select.value, had = select.options.length, key = JSON.stringify(options);
  if (select.dataset.options !== key) {
    select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
    select.dataset.options = key;
    select.value = had && options.some(([value]) => value === before) ? before : first;
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  }
  select.closest("label").hidden = options.length < 2;
  return select.value;
}

// Arrow keys step through `length` places of a chart that has the focus; show(k), and show(null) when it is left.
function roam(node, length, show, begin = 0) {
  let at = null;
  node.classList.add("roam");
  build(node, { tabindex: 0, focus: () => show(at = at ?? begin), blur: () => show(at = null),
    keydown: event => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity, PageDown: 10, PageUp: -10 }[event.key];
      if (by === undefined || !length) return;
      event.preventDefault();
      show(at = Math.min(length - 1, Math.max(0, (at ?? begin) + by)));
    } }, []);
  return node;
}

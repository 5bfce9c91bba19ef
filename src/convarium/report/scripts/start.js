// What a page of runs shows at a time, and when its parts are drawn. `show(data)` draws it all, once more if data come anew.
/* global el, drawHead, drawTable, drawCurves, drawEffects, drawParallel, drawScatter, drawEnd */
/* exported show, readout */
"use strict";

const PARTS = { runs: drawTable, curves: drawCurves, effects: drawEffects, parallel: drawParallel, scatter: drawScatter };
const view = { data: null, items: [], filter: "", means: true }; // what is shown: runs, or means over their replicates
const stale = new Set(Object.keys(PARTS)), near = new Set(["runs"]);

function show(data) {
  view.data = data;
  document.title = data.title;
  drawHead(data);
  drawEnd(data);
  document.getElementById("means").closest("label").hidden = !data.groups;
  refresh();
}

function refresh() {
  const data = view.data, means = Boolean(data.groups) && view.means, passes = filterOf(view.filter, data);
  view.all = means ? groupItems(data) : runItems(data);
  view.items = view.all.filter(passes);
  for (const name of Object.keys(PARTS)) { stale.add(name); if (near.has(name)) draw(name); }
}

// A run, or the mean of some: values are places in the values of each axis, figures in the order of the columns.
function runItems(data) {
  const runs = data.runs;
  return runs.names.map((name, k) => {
    const values = data.axes.map((_, axis) => runs.values[axis][k]), figures = data.columns.map((_, column) => runs.figures[column][k]);
    return { name, values, figures, runs: [k], status: runs.status[k], same: runs.same[k]?.[1], link: runs.links[k], label: labelOf(data, values) || name };
  });
}
function groupItems(data) {
  return data.groups.map(({ runs, figures }) => {
    const values = data.axes.map((axis, a) => axis.replicate ? null : data.runs.values[a][runs[0]]);
    const good = runs.filter(k => data.runs.status[k] === "ok").length, others = new Set(runs.map(k => data.runs.same[k]?.[1]));
    return { name: null, values, runs, good, same: others.size === 1 ? [...others][0] : undefined, figures: figures.map(each => each && each[0]), intervals: figures,
      status: good === runs.length ? "ok" : `${good} of ${runs.length} ok`, link: null, label: labelOf(data, values) || "all runs" };
  });
}
const labelOf = (data, values) => data.axes.map((axis, a) => values[a] === null ? "" : `${axis.name}=${axis.values[values[a]]}`)
  .filter(Boolean).join(" ");

// Words that all must be in a line of the table; `name>number` compares a figure or an axis of numbers.
function filterOf(text, data) {
  const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map(word => {
    const [, name, sign, limit] = /^([^<>=]+)(>=|<=|>|<)([-+.\de]+)$/.exec(word) ?? [];
    if (!name || Number.isNaN(Number(limit))) return item => textOf(item, data).includes(word);
    const is = { ">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b }[sign];
    const named = each => [each.key, each.name].some(one => one.toLowerCase() === name);
    const column = data.columns.findIndex(named), axis = data.axes.findIndex(named);
    const value = item => column >= 0 ? item.figures[column] : axis >= 0 ? data.axes[axis].numbers?.[item.values[axis]] : null;
    return item => { const found = value(item); return found !== null && found !== undefined && is(found, Number(limit)); };
  });
  return item => tests.every(test => test(item));
}
const textOf = (item, data) => item.text ??= [item.name, item.label, `status=${item.status}`,
  ...item.runs.map(k => data.runs.errors[k])].join(" ").toLowerCase();

function draw(name) {
  if (!stale.delete(name)) return;
  const focused = document.activeElement?.closest?.(`#${name}`) && document.activeElement.dataset.focus;
  const body = document.querySelector(`#${name} .body`);
  body.replaceChildren();
  if (view.data.columns.length || name === "runs") PARTS[name](body, view);
  else body.append(el("p", {}, "No run has a figure yet."));
  if (focused) document.querySelector(`#${name} [data-focus="${focused}"]`)?.focus();
}

// The line below a chart that says what is pointed at, to readers of the screen as well.
function readout() {
  const line = el("p", { class: "readout", role: "status" });
  line.say = (item, ...more) => {
    line.replaceChildren();
    if (item) line.append(item.link ? el("a", { href: item.link }, item.label) : item.label, ...more.map(text => `, ${text}`));
  };
  return line;
}

function start() {
  const watch = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) { near.add(target.id); draw(target.id); }
  }, { rootMargin: "400px" });
  for (const name of Object.keys(PARTS)) watch.observe(document.getElementById(name));
  addEventListener("beforeprint", () => Object.keys(PARTS).forEach(draw));
  let width = innerWidth, waits;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waits);
    waits = setTimeout(() => { for (const name of near) { stale.add(name); draw(name); } }, 150);
  });
  const filter = document.getElementById("filter"), means = document.getElementById("means");
  filter.addEventListener("input", () => { view.filter = filter.value; refresh(); });
  means.addEventListener("change", () => { view.means = means.checked; refresh(); });
  for (const select of document.querySelectorAll("section select"))
    select.addEventListener("change", () => { const name = select.closest("section").id; stale.add(name); draw(name); });
  show(JSON.parse(document.getElementById("data").textContent));
}
start();

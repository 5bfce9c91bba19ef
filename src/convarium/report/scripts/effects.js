// What each swept axis does to a metric, and whether what one does depends on another.
/* global el, svg, scale, axes, plot, mark, legend, asTable, choices, apart, compact */
/* exported drawEffects */
"use strict";

const VALUES = 12; // an axis of more values, of numbers, is drawn as points over its scale
const PAIRS = 12;

const meanOf = numbers => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

function drawEffects(body, view) {
  const { data } = view;
  const column = Number(choices("effect-metric", data.columns.map(({ name }, k) => [String(k), name]), "0"));
  const items = view.items.map(item => ({ ...item, figure: item.figures[column] })).filter(({ figure }) => figure !== null && figure !== undefined);
  const free = data.axes.map((axis, a) => ({ ...axis, a })).filter(({ a, replicate }) => !replicate && new Set(items.map(item => item.values[a])).size > 1);
  if (!free.length) { body.append(el("p", {}, "No axis has two values with a result.")); return; }
  const found = free.map(axis => axis.values.length <= VALUES ? { axis, ...mainEffect(axis, items) } : { axis, values: null });
  const pairs = free.filter(({ values }) => values.length <= VALUES).flatMap((one, k, all) => all.slice(k + 1).map(other => interaction(one, other, items)))
    .filter(pair => pair).sort((one, other) => other.strength - one.strength);
  const name = data.columns[column].name, width = Math.min(380, Math.max(250, body.clientWidth));
  const range = items.map(({ figure }) => figure);
  body.append(el("h3", {}, "Each axis alone"),
    el("p", {}, `${name}: a dot for each ${items[0].intervals ? "setting" : "run"}, and the mean over those settings of the other axes that have every value of this one.`),
    el("div", { class: "charts" }, ...found.map(each => el("figure", {}, el("figcaption", {}, each.axis.key), effectChart(each, items, range, width, name),
      each.note ? el("p", {}, each.note) : ""))),
    asTable("The means as a table", ["value", "mean", "settings"], () => found.flatMap(({ axis, values, means, counts }) => !values ? []
      : values.map((value, k) => [`${axis.key}=${axis.values[value]}`, compact(means[k]), String(counts[k])]))));
  if (!pairs.length) return;
  body.append(el("h3", {}, "Two axes together"),
    el("p", {}, "Parallel lines: the axes do not depend on each other. The pair that depends most comes first."
      + (pairs.length > PAIRS ? ` The first ${PAIRS} of ${pairs.length} pairs.` : "")),
    el("div", { class: "charts" }, ...pairs.slice(0, PAIRS).map(pair => el("figure", {},
      el("figcaption", {}, `${pair.one.key} for each ${pair.other.key}`), pairChart(pair, range, width, name)))),
    asTable("The pairs as a table", ["values", "mean"], () => pairs.flatMap(({ one, other, rows, columns, means }) =>
      columns.flatMap((b, j) => rows.map((a, i) => [`${one.key}=${one.values[a]} ${other.key}=${other.values[b]}`, means[j][i] === null ? "" : compact(means[j][i])])))));
}

// The mean at each value of an axis, over settings of the others that have a result at every value: like with like.
function mainEffect({ a }, items) {
  const values = [...new Set(items.map(item => item.values[a]))].filter(value => value !== null).sort((one, other) => one - other);
  const others = new Map();
  for (const item of items) {
    const key = item.values.map((value, axis) => axis === a ? "" : value).join();
    others.set(key, (others.get(key) ?? []).concat(item));
  }
  const whole = [...others.values()].filter(group => new Set(group.map(item => item.values[a])).size === values.length).flat();
  const taken = whole.length ? whole : items, of = value => taken.filter(item => item.values[a] === value).map(({ figure }) => figure);
  const note = !whole.length ? "No setting of the other axes has every value: these means compare unlike settings."
    : whole.length < items.length ? `${items.length - whole.length} of ${items.length} are left out of the means: their counterparts have no result.` : "";
  return { values, means: values.map(value => meanOf(of(value))), counts: values.map(value => of(value).length), note };
}

// The means at each pair of values, and how far they are from a sum of two effects.
function interaction(one, other, items) {
  const present = axis => [...new Set(items.map(item => item.values[axis.a]))].filter(value => value !== null).sort((x, y) => x - y);
  const rows = present(one), columns = present(other);
  const means = columns.map(b => rows.map(a => {
    const cell = items.filter(item => item.values[one.a] === a && item.values[other.a] === b).map(({ figure }) => figure);
    return cell.length ? meanOf(cell) : null;
  }));
  if (means.filter(line => line.filter(mean => mean !== null).length > 1).length < 2) return null;
  const whole = means.flat().every(mean => mean !== null);
  const all = meanOf(means.flat()), byRow = rows.map((_, i) => meanOf(means.map(line => line[i]))), byColumn = means.map(meanOf);
  const strength = whole ? Math.sqrt(meanOf(means.flatMap((line, j) => line.map((mean, i) => (mean - byRow[i] - byColumn[j] + all) ** 2)))) : 0;
  return { one, other, rows, columns, means, strength };
}

function frame(axis, values, range, width, label, bottomTitle = null) {
  const tilted = values.some(value => axis.values[value].length * 7 > (width - 70) / values.length);
  const height = 190 + (tilted ? 70 : 22), box = { left: 52, right: width - 10, top: 10, bottom: 178 };
  const y = scale(range, box.bottom, box.top, true), at = k => box.left + (k + 0.5) / values.length * (box.right - box.left);
  const names = apart(values.map(value => axis.values[value]), tilted ? 14 : 24);
  const ticks = names.map((text, k) => ({ at: at(k), text, tilt: tilted }));
  return { y, at, chart: plot(width, height, label, axes(box, y, ticks, bottomTitle)) };
}

function effectChart({ axis, values, means }, items, range, width, name) {
  if (!values) { // numbers of a search: no mean at a value, but where each lies
    const height = 220, box = { left: 52, right: width - 10, top: 10, bottom: 178 }, y = scale(range, box.bottom, box.top, true);
    const numbers = axis.numbers ?? axis.values.map((_, k) => k), x = scale(numbers, box.left, box.right, axis.numbers !== null);
    const ticks = axis.numbers ? x.ticks().map(tick => ({ at: x.at(tick), text: compact(tick) })) : [];
    return plot(width, height, `${name} by ${axis.key}`, axes(box, y, ticks, axis.numbers ? null : `${axis.values.length} values`),
      ...items.filter(item => item.values[axis.a] !== null && numbers[item.values[axis.a]] !== null)
        .map(item => svg("circle", { class: "point", r: 3, cx: x.at(numbers[item.values[axis.a]]), cy: y.at(item.figure) })));
  }
  const { y, at, chart } = frame(axis, values, range, width, `${name}: mean at ${values.map((value, k) => `${axis.values[value]} ${compact(means[k])}`).join(", ")}`);
  values.forEach((value, k) => chart.append(...items.filter(item => item.values[axis.a] === value)
    .map((item, j) => svg("circle", { class: "point", r: 2.5, cx: at(k) + (j * 7 % 5 - 2) * 3.5, cy: y.at(item.figure) }))));
  chart.append(svg("path", { class: "curve k0", d: `M${means.map((mean, k) => `${at(k)},${y.at(mean)}`).join("L")}` }),
    ...means.map((mean, k) => svg("path", { class: "dot k0", d: mark(3).shape, transform: `translate(${at(k)},${y.at(mean)}) scale(1.3)` })));
  return chart;
}

function pairChart({ one, other, rows, columns, means }, range, width, name) {
  const { y, at, chart } = frame(one, rows, range, width, `${name} by ${one.key}, a line for each ${other.key}`);
  columns.forEach((_, j) => {
    const { class: color, dash, shape } = mark(j), have = rows.map((_, i) => i).filter(i => means[j][i] !== null);
    chart.append(svg("g", { class: color }, svg("path", { class: "curve", "stroke-dasharray": dash, d: have.length ? `M${have.map(i => `${at(i)},${y.at(means[j][i])}`).join("L")}` : "" }),
      ...have.map(i => svg("path", { class: "dot", d: shape, transform: `translate(${at(i)},${y.at(means[j][i])})` }))));
  });
  return el("div", {}, chart, legend(columns.map(b => `${other.name}=${other.values[b]}`),
    k => chart.classList.toggle("dimmed", k !== null) || chart.querySelectorAll("g[class^=k]").forEach((line, j) => line.classList.toggle("on", j === k))));
}

// One figure against another, with those that none beats in both: the Pareto front.
/* global el, svg, scale, axes, plot, mark, legend, asTable, choices, roam, readout, fixed, compact */
/* exported drawScatter */
"use strict";

function drawScatter(body, view) {
  const { data } = view, names = data.columns.map(({ name }, k) => [String(k), name]);
  const cost = data.columns.findIndex(({ key }) => key === "params"), seconds = data.columns.findIndex(({ key }) => key === "wall_seconds");
  const varies = k => new Set(view.all.map(item => item.figures[k]).filter(value => value !== null)).size > 1;
  const numbers = data.axes.map((axis, a) => [`axis ${a}`, axis.name]).filter((_, a) => data.axes[a].numbers && data.axes[a].values.length > 2 && !data.axes[a].replicate);
  const across = choices("scatter-x", [...names, ...numbers], String(cost >= 0 && varies(cost) ? cost : Math.max(0, seconds)));
  const up = Number(choices("scatter-y", names, "0"));
  const by = choices("scatter-by", [["", "nothing"], ...data.axes.map((axis, a) => [String(a), axis.name]).filter((_, a) => !data.axes[a].replicate && data.axes[a].values.length > 1 && data.axes[a].values.length <= 12)],
    String(data.axes.findIndex(axis => !axis.replicate && axis.values.length > 1 && axis.values.length <= 6)));
  const axis = across.startsWith("axis ") ? data.axes[Number(across.slice(5))] : null, column = axis ? null : data.columns[across];
  const xOf = item => axis ? axis.numbers[item.values[across.slice(5)]] ?? null : item.figures[across];
  const points = view.items.map(item => ({ ...item, x: xOf(item), y: item.figures[up] })).filter(({ x, y }) => x !== null && y !== null).sort((a, b) => a.x - b.x);
  if (!points.length) { body.append(el("p", {}, "None of these runs has both figures.")); return; }
  const width = Math.max(280, body.clientWidth), height = Math.min(380, 220 + width / 8), box = { left: 52, right: width - 14, top: 12, bottom: height - 46 };
  const x = scale(points.map(point => point.x), box.left, box.right, true), y = scale(points.map(point => point.y), box.bottom, box.top, true);
  const front = column?.sign && data.columns[up].sign && Number(across) !== up ? frontOf(points, column.sign, data.columns[up].sign) : [];
  const xName = axis ? axis.name : column.name, yName = data.columns[up].name;
  const ring = svg("circle", { class: "ring", r: 9, visibility: "hidden" }), say = readout();
  const point = k => {
    const one = points[k];
    ring.setAttribute("visibility", one ? "visible" : "hidden");
    if (one) { ring.setAttribute("cx", x.at(one.x)); ring.setAttribute("cy", y.at(one.y)); }
    say.say(one, one && `${yName} ${fixed(one.y, data.columns[up].decimals)}`, one && `${xName} ${axis ? compact(one.x) : fixed(one.x, column.decimals)}`, one && front.includes(one) ? "on the front" : "");
  };
  const step = front.map(({ x: a, y: b }, k) => `${k ? `H${x.at(a)}V` : `M${x.at(a)},`}${y.at(b)}`).join("");
  const chart = roam(plot(width, height, `${yName} by ${xName}; arrow keys step from left to right`,
    axes(box, y, x.ticks().map(tick => ({ at: x.at(tick), text: compact(tick) })), xName), svg("path", { class: "front", d: step }),
    ...points.map(item => { const { class: color, shape } = mark(by === "" ? 0 : item.values[by] ?? 0);
      return svg("path", { class: `dot ${color}`, d: shape, transform: `translate(${x.at(item.x).toFixed(1)},${y.at(item.y).toFixed(1)})` }); }), ring), points.length, point);
  chart.dataset.focus = "chart";
  chart.addEventListener("pointermove", event => {
    const place = chart.getBoundingClientRect(), far = item => Math.hypot(x.at(item.x) - (event.clientX - place.left) * width / place.width, y.at(item.y) - (event.clientY - place.top) * height / place.height);
    const nearest = points.reduce((best, item, k) => far(item) < far(points[best]) ? k : best, 0);
    if (far(points[nearest]) < 24) point(nearest);
  });
  body.append(by === "" ? "" : legend(data.axes[by].values.map(text => `${data.axes[by].name}=${text}`)), chart, say,
    el("p", {}, front.length ? "The stepped line joins those that no other beats in both: " : "", ...front.map((item, k) => el("span", {}, k ? "; " : "",
      item.link ? el("a", { href: item.link }, item.label) : item.label, ` (${fixed(item.y, data.columns[up].decimals)}, ${fixed(item.x, column.decimals)})`)), front.length ? "." : ""),
    asTable("The points as a table", ["which", xName, yName, "front"], () => points.map(item =>
      [item.label, axis ? compact(item.x) : fixed(item.x, column.decimals), fixed(item.y, data.columns[up].decimals), front.includes(item) ? "yes" : ""])));
}

// Those that no other equals or beats in both, by x; sign: 1 where more is better, -1 where less is.
function frontOf(points, xSign, ySign) {
  const front = [];
  let best = -Infinity;
  for (const point of [...points].sort((a, b) => xSign * (b.x - a.x) || ySign * (b.y - a.y)))
    if (ySign * point.y > best) { front.push(point); best = ySign * point.y; }
  return front.sort((a, b) => a.x - b.x);
}

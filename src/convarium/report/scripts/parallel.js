// Parallel coordinates: a line for each run or setting, across its answers and figures. A brush on an axis keeps those
// that pass through it, by pointer or by its two handles.
/* global el, svg, scale, choices, roam, readout, fixed, compact, cut, apart, plot */
/* exported drawParallel */
"use strict";

const brushes = new Map(); // key of an axis -> [low, high], shares of its height from below
const ROWS = 25;

function dimensions(view, column) {
  const { data, all } = view, text = k => value => fixed(value, data.columns[k].decimals);
  const varies = of => new Set(all.map(of).filter(value => value !== null && value !== undefined)).size > 1;
  const answers = data.axes.map((axis, a) => ({ key: axis.key, name: axis.name, axis, of: item => item.values[a] }))
    .filter(({ axis, of }) => !axis.replicate && varies(of)).map(({ axis, ...rest }) => {
      if (axis.numbers && axis.values.length > 8 && !axis.numbers.includes(null)) {
        const place = scale(axis.numbers, 0, 1, true);
        return { ...rest, at: value => place.at(axis.numbers[value]), ticks: place.ticks().map(tick => [place.at(tick), compact(tick)]), step: 0.05 };
      }
      const n = axis.values.length; // an axis of very many names is labelled at some of them
      const every = Math.ceil(n / 12);
      return { ...rest, at: value => (value + 0.5) / n, ticks: apart(axis.values, 13).map((name, k) => [(k + 0.5) / n, name]).filter((_, k) => k % every === 0), step: 1 / n };
    });
  const costs = data.columns.map((_, k) => k).filter(k => ["params", "wall_seconds"].includes(data.columns[k].key) && k !== column);
  const figures = [...costs, column].map(k => ({ key: data.columns[k].key, name: data.columns[k].name, of: item => item.figures[k] ?? null, shown: text(k) }))
    .filter(({ of }, k, every) => k === every.length - 1 || varies(of)).map(each => {
      const place = scale(all.map(each.of).filter(value => value !== null), 0, 1, true);
      return { ...each, at: place.at, ticks: place.ticks().map(tick => [place.at(tick), compact(tick)]), step: 0.05, back: place.value };
    });
  return [...answers, ...figures];
}

function drawParallel(body, view) {
  const { data } = view, column = Number(choices("parallel-metric", data.columns.map(({ name }, k) => [String(k), name]), "0"));
  const axes = dimensions(view, column), items = view.items, sign = data.columns[column].sign || 1;
  if (items.length < 2) { body.append(el("p", {}, "There are not two runs to compare.")); return; }
  const width = Math.max(body.clientWidth, axes.length * 104), top = 44, bottom = 300, height = 336;
  const left = 60, x = k => axes.length < 2 ? width / 2 : left + k / (axes.length - 1) * (width - 2 * left), y = share => bottom - share * (bottom - top), none = bottom + 22;
  const places = items.map(item => axes.map(axis => axis.of(item)).map((value, k) => value === null ? null : axes[k].at(value)));
  const ranked = items.map((item, k) => [item.figures[column] ?? null, k]).filter(([value]) => value !== null).sort(([a], [b]) => sign * (b - a)).map(([, k]) => k);
  const rank = new Map(ranked.map((k, place) => [k, Math.floor(5 * place / ranked.length)])), inOrder = [...ranked, ...items.keys()].filter((k, place, all) => all.indexOf(k) === place);
  const lines = items.map((item, k) => svg("path", { class: `run q${rank.get(k) ?? "none"}`,
    d: `M${places[k].map((share, j) => `${x(j).toFixed(1)},${(share === null ? none : y(share)).toFixed(1)}`).join("L")}` }));
  const group = svg("g", { class: "lines" }, ...inOrder.toReversed().map(k => lines[k])), over = svg("path", { class: "over" });
  const say = readout(), count = el("p", { role: "status" }), table = el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "brushed runs" });
  const chart = plot(width, height, "Parallel coordinates");
  let kept = [];
  const point = k => {
    over.setAttribute("d", k === null || k === undefined ? "" : lines[k].getAttribute("d"));
    say.say(k === null ? null : items[k], ...k === null || k === undefined ? [] : axes.filter(axis => axis.shown).map(axis => `${axis.name} ${axis.shown(axis.of(items[k])) || "none"}`));
  };
  const lane = roam(svg("rect", { class: "field", x: 0, y: 0, width, height: 24, role: "button", "aria-label": "the lines; arrow keys step from the best to the worst", "data-focus": "lines" }), items.length, place => point(place === null ? null : kept[Math.min(place, kept.length - 1)]));
  const apply = () => {
    const tests = axes.map(({ key }) => brushes.get(key));
    const passes = k => tests.every((brush, j) => !brush || (places[k][j] !== null && places[k][j] >= brush[0] - 1e-9 && places[k][j] <= brush[1] + 1e-9));
    kept = inOrder.filter(passes);
    const keeps = new Set(kept);
    lines.forEach((line, k) => line.classList.toggle("out", !keeps.has(k)));
    const brushed = tests.some(Boolean);
    count.replaceChildren(`${kept.length} of ${items.length} ${brushed ? "pass through the brushes" : "lines"}. `,
      brushed ? el("button", { type: "button", class: "do", "data-focus": "clear", click: () => { brushes.clear(); redraw(); } }, "clear the brushes") : "");
    const shown = kept.slice(0, ROWS);
    table.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "brushed"), ...axes.map(axis => el("th", { scope: "col", class: axis.shown ? "n" : null }, axis.name)))),
      el("tbody", {}, ...shown.map((k, place) => el("tr", { pointerenter: () => point(k), pointerleave: () => point(null) },
        el("th", { scope: "row" }, items[k].link ? el("a", { href: items[k].link }, items[k].name) : items[k].name ?? String(place + 1)),
        ...axes.map(axis => { const value = axis.of(items[k]); return el("td", { class: axis.shown ? "n" : null }, value === null ? "" : axis.shown ? axis.shown(value) : data.axes.find(({ key }) => key === axis.key).values[value]); }))))),
    kept.length > ROWS ? el("p", {}, `and ${kept.length - ROWS} more`) : "");
  };
  const redraw = () => { handles.forEach(update => update()); apply(); };
  const handles = axes.map((axis, j) => brush(axis, x(j), y, redraw));
  chart.append(group, over, lane, ...axes.map((axis, j) => svg("g", {},
    svg("line", { class: "frame", x1: x(j), x2: x(j), y1: top, y2: bottom }), svg("title", {}, axis.key),
    svg("text", { x: x(j), y: 20, "text-anchor": "middle", class: "name" }, cut(axis.name, 15)),
    ...axis.ticks.map(([share, text]) => svg("text", { class: "tick", x: x(j) + 7, y: y(share) + 4 }, cut(text, 13))),
    places.some(place => place[j] === null) ? svg("text", { class: "tick", x: x(j) + 7, y: none + 4 }, "none") : null, handles[j].node)));
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect(), px = (event.clientX - box.left) * width / box.width, py = (event.clientY - box.top) * height / box.height;
    const j = axes.findLastIndex((_, k) => k < axes.length - 1 && x(k) <= px);
    if (event.buttons || j < 0) return;
    const at = (k, i) => places[k][i] === null ? none : y(places[k][i]), part = (px - x(j)) / (x(j + 1) - x(j));
    const far = k => Math.abs(at(k, j) + part * (at(k, j + 1) - at(k, j)) - py);
    const best = kept.reduce((one, k) => one === null || far(k) < far(one) ? k : one, null);
    point(best !== null && far(best) < 12 ? best : null);
  });
  chart.addEventListener("pointerleave", () => point(null));
  redraw();
  body.append(el("p", {}, `Color: ${data.columns[column].name}, from the best fifth (strongest) to the worst. Draw along an axis to keep the lines through it; the handles at its ends move by arrow keys, Escape takes a brush away.`),
    el("div", { class: "wide" }, chart), say, count, table);
}

// The brush of an axis at `x`: a function that draws it anew, with its node.
function brush(axis, x, y, changed) {
  const get = () => brushes.get(axis.key) ?? [0, 1];
  const set = (low, high) => {
    const [a, b] = [Math.max(0, Math.min(low, high)), Math.min(1, Math.max(low, high))];
    if (a < 1e-6 && b > 1 - 1e-6) brushes.delete(axis.key); else brushes.set(axis.key, [a, b]);
    changed();
  };
  const bar = svg("rect", { class: "brush", x: x - 8, width: 16 });
  const area = svg("rect", { class: "field", x: x - 16, width: 32, y: y(1) - 4, height: y(0) - y(1) + 8 });
  const ends = [0, 1].map(end => svg("path", { class: "handle", tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-label": `${axis.name}: ${end ? "upper" : "lower"} end of the brush`, d: end ? "M-9,0h18l-9,-9z" : "M-9,0h18l-9,9z", "data-focus": `brush ${axis.key} ${end}`,
    keydown: event => {
      const range = [...get()], by = { ArrowUp: axis.step, ArrowRight: axis.step, ArrowDown: -axis.step, ArrowLeft: -axis.step, PageUp: 0.25, PageDown: -0.25, Home: -1, End: 1 }[event.key];
      if (event.key === "Escape") set(0, 1);
      else if (by !== undefined) { range[end] = end ? Math.max(range[0], range[1] + by) : Math.min(range[1], range[0] + by); set(...range); } else return;
      event.preventDefault();
    } }));
  let from = null;
  const share = event => { const box = area.getBoundingClientRect(); return Math.min(1, Math.max(0, (box.bottom - 4 - event.clientY) / (box.height - 8))); };
  area.addEventListener("pointerdown", event => { from = share(event); area.setPointerCapture(event.pointerId); event.preventDefault(); });
  area.addEventListener("pointermove", event => { if (from !== null && Math.abs(share(event) - from) > 0.01) set(from, share(event)); });
  area.addEventListener("pointerup", event => { if (Math.abs(share(event) - from) <= 0.01) set(0, 1); from = null; });
  const update = () => {
    const [low, high] = get(), on = brushes.has(axis.key);
    bar.setAttribute("y", y(high)); bar.setAttribute("height", on ? y(low) - y(high) : 0);
    ends.forEach((node, end) => {
      const at = end ? high : low;
      node.setAttribute("transform", `translate(${x},${y(at)})`);
      node.setAttribute("aria-valuenow", Math.round(100 * at));
      node.setAttribute("aria-valuetext", axis.back ? compact(axis.back(at)) : `${Math.round(100 * at)} % of the axis`);
    });
  };
  update.node = svg("g", {}, bar, area, ...ends);
  return update;
}

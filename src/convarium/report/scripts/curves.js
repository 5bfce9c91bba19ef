// Learning curves: a line for each group of runs, their mean, with a band over them.
/* global el, svg, scale, axes, plot, mark, legend, asTable, choices, roam, cut, compact, extent */
/* exported drawCurves */
"use strict";

const BOLD = 8; // lines in color with a band; further ones are thin
const THIN = 200;

// The numbers of each run by epoch, NaN where there are none. A curve is written as changes between whole levels, a
// character each; "!" is followed by a level in two characters, "~" is a missing value.
function decode(curves, metric) {
  metric.decoded ??= metric.texts.map(text => {
    const values = new Float64Array(curves.epochs.length).fill(NaN), code = curves.code, half = (code.length - 1) / 2;
    let level = 0;
    for (let at = 0, k = 0; at < text.length; at++, k++) {
      const one = text[at];
      if (one === "~") continue;
      if (one === "!") level = code.indexOf(text[++at]) * code.length + code.indexOf(text[++at]);
      else level += code.indexOf(one) - half;
      values[k] = metric.low + level / curves.levels * (metric.high - metric.low);
      if (metric.log) values[k] = 10 ** values[k];
    }
    return values;
  });
  return metric.decoded;
}

function drawCurves(body, view) {
  const { data } = view, { curves } = data, metrics = Object.keys(curves.metrics);
  if (!metrics.length) { body.append(el("p", {}, "No run has ended an epoch.")); return; }
  const chosen = choices("curve-metric", metrics.map(name => [name, name]), curves.first);
  const free = data.axes.map((axis, a) => [String(a), `${axis.name}: its runs together`]).filter((_, a) => !data.axes[a].replicate && data.axes[a].values.length > 1);
  const by = choices("curve-lines", [["", view.items[0]?.intervals ? "each setting" : "each run"], ...free], "");
  const band = choices("curve-band", [["range", "lowest to highest"], ["deviation", "± standard deviation"], ["interval", "95 % interval of the mean"]], "range");
  const metric = curves.metrics[chosen], values = decode(curves, metric);
  const groups = (by === "" ? view.items.map(({ label, runs, link }) => ({ label, runs, link }))
    : data.axes[by].values.map((text, value) => ({ label: `${data.axes[by].name}=${text}`,
      runs: [...new Set(view.items.filter(item => item.values[by] === value).flatMap(item => item.runs).map(k => data.runs.same[k]?.[0] ?? k))] }))) // each run once
    .map(group => ({ ...group, ...summary(group.runs.map(k => metric.runs[k]).filter(k => k >= 0).map(k => values[k]), curves.epochs.length, band, data.t) }))
    .filter(group => group.most > 0);
  if (!groups.length) { body.append(el("p", {}, `None of these runs has ${chosen}.`)); return; }
  const bold = groups.slice(0, BOLD), thin = groups.slice(BOLD, BOLD + THIN);
  const width = Math.max(280, body.clientWidth), height = Math.min(360, 200 + width / 8);
  const box = { left: 52, right: width - 12, top: 10, bottom: height - 42 };
  const ends = extent([...thin.flatMap(({ mean }) => [...mean]), ...bold.flatMap(({ low, high }) => [...low, ...high])]);
  const y = scale(ends, box.bottom, box.top, metric.log), x = scale(curves.epochs, box.left, box.right);
  const whole = x.ticks().filter(Number.isInteger).filter(tick => tick >= curves.epochs[0]);
  const path = (line, from = 0) => { // a line has a gap where there is no value
    let text = "", pen = "M";
    for (let k = from; k < line.length; k++) {
      if (Number.isFinite(line[k])) { text += `${pen}${x.at(curves.epochs[k]).toFixed(1)},${y.at(line[k]).toFixed(1)}`; pen = "L"; } else pen = "M";
    }
    return text;
  };
  const area = ({ low, high }) => {
    const at = [...low.keys()].filter(k => Number.isFinite(low[k])), point = (line, k) => `${x.at(curves.epochs[k]).toFixed(1)},${y.at(line[k]).toFixed(1)}`;
    return at.length > 1 ? `M${[...at.map(k => point(high, k)), ...at.reverse().map(k => point(low, k))].join("L")}Z` : "";
  };
  const lines = bold.map((group, k) => {
    const { class: color, dash, shape } = mark(k), ats = [...group.mean.keys()].filter(e => Number.isFinite(group.mean[e]));
    const every = Math.max(1, Math.ceil(ats.length / 6));
    return svg("g", { class: color }, svg("path", { class: "band", d: area(group) }),
      svg("path", { class: "curve", d: path(group.mean), "stroke-dasharray": dash }),
      ...ats.filter((_, e) => (ats.length - 1 - e) % every === 0)
        .map(e => svg("path", { class: "dot", d: shape, transform: `translate(${x.at(curves.epochs[e]).toFixed(1)},${y.at(group.mean[e]).toFixed(1)})` })));
  });
  const cursor = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const say = el("div", { class: "readout", role: "status" });
  const point = k => {
    cursor.setAttribute("visibility", k === null ? "hidden" : "visible");
    if (k !== null) for (const end of ["x1", "x2"]) cursor.setAttribute(end, x.at(curves.epochs[k]));
    say.replaceChildren(...k === null ? [] : [`epoch ${curves.epochs[k]}: `, bold.filter(({ mean }) => Number.isFinite(mean[k]))
      .map(group => `${cut(group.label, 50)} ${words(group, k)}`).join("; ")]);
  };
  const chart = roam(plot(width, height, `${chosen} by epoch; arrow keys step through the epochs`,
    axes(box, y, whole.map(tick => ({ at: x.at(tick), text: String(tick) })), "epoch"),
    ...thin.map(group => svg("path", { class: "thin", d: path(group.mean) })), ...lines.toReversed(), cursor), curves.epochs.length, point, curves.epochs.length - 1);
  chart.dataset.focus = "chart";
  chart.addEventListener("pointermove", event => {
    const epoch = x.value((event.clientX - chart.getBoundingClientRect().left) * width / chart.getBoundingClientRect().width);
    point(curves.epochs.reduce((best, one, k) => Math.abs(one - epoch) < Math.abs(curves.epochs[best] - epoch) ? k : best, 0));
  });
  chart.addEventListener("pointerleave", () => point(null));
  const notes = [
    groups.length > BOLD ? `The best ${BOLD} of ${groups.length} in color with their bands${by === "" ? `, ${Math.min(thin.length, THIN)} more as thin lines` : ""}.` : "",
    curves.every > 1 ? `One epoch in ${curves.every} is drawn.` : "", y.log ? "The scale is logarithmic." : "",
    bold.some(({ most }) => most > 1) ? `Line: mean. Band: ${document.querySelector("#curve-band").selectedOptions[0].text} over the runs that are still at work at that epoch.` : ""];
  body.append(el("p", {}, notes.filter(Boolean).join(" ")),
    legend(bold.map(({ label, most }) => `${label}${most > 1 ? ` (${most} runs)` : ""}`), k => chart.classList.toggle("dimmed", k !== null)
      || lines.forEach((line, other) => line.classList.toggle("on", other === k))),
    chart, say, asTable(`${chosen} by epoch as a table`, ["epoch", ...bold.map(({ label }) => label)],
      () => curves.epochs.map((epoch, k) => [String(epoch), ...bold.map(group => Number.isFinite(group.mean[k]) ? words(group, k) : "")])));
}

const words = ({ mean, low, high, counts }, k) => counts[k] > 1 && Number.isFinite(low[k])
  ? `${compact(mean[k])} (${compact(low[k])} to ${compact(high[k])}, ${counts[k]} runs)` : compact(mean[k]);

// Mean and band over curves, epoch by epoch, of those that have a value there.
function summary(lines, length, band, t) {
  const [mean, low, high] = [1, 2, 3].map(() => new Float64Array(length).fill(NaN)), counts = new Int32Array(length);
  for (let k = 0; k < length; k++) {
    const found = lines.map(line => line[k]).filter(Number.isFinite), n = counts[k] = found.length;
    if (!n) continue;
    mean[k] = found.reduce((a, b) => a + b) / n;
    if (n === 1) continue;
    const deviation = Math.sqrt(found.reduce((sum, value) => sum + (value - mean[k]) ** 2, 0) / (n - 1));
    const half = band === "deviation" ? deviation : t[Math.min(n, t.length) - 2] * deviation / Math.sqrt(n);
    [low[k], high[k]] = band === "range" ? extent(found) : [mean[k] - half, mean[k] + half];
  }
  return { mean, low, high, counts, most: Math.max(0, ...counts) };
}

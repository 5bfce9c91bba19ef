// The head of the page, the table of runs, and what stands at its end: failures, versions, the command.
/* global el, fixed */
/* exported drawHead, drawTable, drawEnd */
"use strict";

const MOST = 100; // rows before somebody asks for all
const order = { by: null, down: false, all: false, waits: 0 };

function drawHead(data) {
  const counts = Object.entries(data.counts).map(([status, number]) => el("li", { class: status }, el("strong", {}, String(number)), ` ${status}`));
  document.getElementById("head").replaceChildren(
    ...data.study ? [el("p", { class: "question" }, data.study.question), el("p", { class: "answer" }, data.study.answer)] : [],
    ...data.answer.map((sentence, k) => el("p", { class: k || data.study ? "more" : "answer" }, sentence)),
    el("ul", { class: "counts", "aria-label": "jobs by status" }, ...counts));
}

function columnsOf({ data, all, items }) { // heads: name, what it is, which way is better; value to sort by and cell to show
  const means = items[0]?.intervals !== undefined;
  return [
    ...data.axes.map((axis, a) => ({ axis, a })).filter(({ axis }) => !(means && axis.replicate)).map(({ axis, a }) => ({
      key: axis.key, name: axis.name, meaning: `the answer of ${axis.key}`, number: axis.numbers !== null,
      value: item => item.values[a], text: item => item.values[a] === null ? "" : axis.values[item.values[a]] })),
    means ? { key: "n", name: "runs", meaning: "runs that ended well, of all with these answers", number: true, value: item => item.good,
      text: item => item.good === item.runs.length ? `${item.good}` : `${item.good} of ${item.runs.length}` }
      : { key: "status", name: "status", meaning: "how the run ended, or that it is at work", value: item => item.status },
    ...all.some(({ same }) => same) ? [{ key: "same", name: "same as", meaning: "the answers that make the same network by construction, and whose run this is", value: item => item.same }] : [],
    ...data.columns.map((column, k) => ({ key: column.key, name: column.name, meaning: column.meaning, number: true, better: column.sign,
      value: item => item.figures[k], text: item => cell(item, k, column.decimals) })),
    ...means ? [] : [{ key: "run", name: "run", meaning: "its folder; a link where it has a page", value: item => item.name,
      text: item => item.link ? el("a", { href: item.link }, item.name) : item.name }],
  ];
}
function cell(item, k, decimals) {
  const interval = item.intervals?.[k];
  if (!interval || interval[1] === null) return fixed(item.figures[k], decimals);
  return el("span", {}, fixed(interval[0], decimals), el("span", { class: "interval" }, ` ${fixed(interval[1], decimals)} to ${fixed(interval[2], decimals)}`));
}

function drawTable(body, view) {
  const columns = columnsOf(view), { all, items } = view, lines = new Map(), tbody = el("tbody");
  const line = item => el("tr", { class: item.status }, ...columns.map((column, at) => el(at ? "td" : "th",
    { scope: at ? null : "row", class: column.number ? "n" : null }, column.text ? column.text(item) : column.value(item) ?? "")));
  const heads = columns.map(column => el("th", { scope: "col", class: column.number ? "n" : null, title: column.meaning },
    el("button", { type: "button", "data-focus": `sort ${column.key}`, click: () => {
      order.down = order.by === column.key ? !order.down : column.better > 0;
      order.by = column.key;
      fill();
    } }, column.name)));
  const more = el("button", { type: "button", class: "do", click: () => { order.all = true; fill(); } }, `show all ${items.length}`);
  const fill = () => {
    const by = columns.find(column => column.key === order.by), sorted = by ? inOrder(items, by.value, order.down) : items;
    columns.forEach((column, k) => column === by ? heads[k].setAttribute("aria-sort", order.down ? "descending" : "ascending")
      : heads[k].removeAttribute("aria-sort"));
    const rows = from => sorted.slice(from, from + MOST).map(item => lines.get(item) ?? lines.set(item, line(item)).get(item));
    tbody.replaceChildren(...rows(0));
    more.hidden = order.all || items.length <= MOST;
    clearTimeout(order.waits); // the rows below what one sees come after it
    const rest = from => { if (order.all && from < sorted.length) { tbody.append(...rows(from)); order.waits = setTimeout(rest, 0, from + MOST); } };
    order.waits = setTimeout(rest, 0, MOST);
  };
  const means = all[0]?.intervals !== undefined, noun = means ? "settings" : "runs";
  const shown = items.length === all.length ? `${all.length} ${noun}` : `${items.length} of ${all.length} ${noun}; the charts below show these`;
  body.append(
    el("p", { role: "status" }, means ? `${shown}. Means over replicates, with the 95 % interval of the mean where there are two or more.` : `${shown}.`),
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "table of runs" },
      el("table", {}, el("thead", {}, el("tr", {}, ...heads)), tbody)), more,
    el("details", {}, el("summary", {}, "What the columns are"),
      el("dl", {}, ...columns.flatMap(column => [el("dt", {}, column.name), el("dd", {}, column.meaning)]))));
  fill();
}

// Items by a value, those without one last.
const inOrder = (items, value, down) => items.map(item => [value(item) ?? null, item])
  .sort(([a], [b]) => a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b) === down ? 1 : -1).map(([, item]) => item);

function drawEnd(data) {
  const failures = document.getElementById("failures");
  failures.hidden = !data.failures.length;
  failures.querySelector(".body").replaceChildren(...data.failures.map(({ name, status, label, error, log }) =>
    el("details", {}, el("summary", {}, el("strong", {}, status), ` ${label || name}`, error ? `: ${error}` : ""),
      log ? el("pre", { tabindex: 0 }, log) : el("p", {}, "It has no log."))),
    data.more_failures ? el("p", {}, `and ${data.more_failures} more: filter the table by their status`) : "");
  const importance = document.getElementById("importance");
  importance.hidden = !data.importance;
  importance.querySelector(".body").replaceChildren(...!data.importance ? [] : [el("table", {}, el("tbody", {}, ...Object.entries(data.importance).map(([name, share]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "n" }, fixed(share, 3)), el("td", {}, el("meter", { value: share, "aria-label": name }))))))]);
  document.querySelector("#origin .body").replaceChildren(
    el("table", {}, el("tbody", {}, ...data.origin.map(({ name, values }) => el("tr", { class: values.length > 1 ? "differs" : null },
      el("th", { scope: "row" }, name), el("td", {}, ...values.length === 1 ? [values[0][0]]
        : [el("ul", {}, ...values.map(([text, number]) => el("li", {}, el("strong", {}, text), ` ${number} runs`)))]))))),
    ...data.commands.map(command => el("pre", { tabindex: 0 }, command)));
  const study = document.getElementById("study");
  study.hidden = !data.study;
  study.querySelector(".body").replaceChildren(...data.study ? [el("p", { class: "question" }, data.study.question),
    el("p", {}, `Expected (${data.study.source}): ${data.study.expected}`), el("p", { class: "answer" }, data.study.answer)] : []);
}

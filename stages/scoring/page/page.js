"use strict";
// Draws the report from its data. Names are untrusted: they become text nodes, never markup.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"];
const LOWEST = 1, HIGHEST = 5, EXTREMES = 5, OVERALL = "Mean";
const data = JSON.parse(document.getElementById("data").textContent);
const state = { key: OVERALL, descending: true, filter: "", open: new Set() };
const byId = (id) => document.getElementById(id);
const colour = (name) => COLOURS[data.dimensions.indexOf(name) % COLOURS.length];

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function shape(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The name of each song: its id, or its path if several songs have the same id.
let labels = new Map();
function label(rows) {
  const count = new Map();
  for (const row of rows) count.set(row.song_id, (count.get(row.song_id) || 0) + 1);
  labels = new Map(rows.map((row) => [row, (count.get(row.song_id) > 1 && row.path) || row.song_id]));
}

const scored = (row) => Object.keys(row.scores).length > 0;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const overall = (row) => mean(data.dimensions.map((name) => row.scores[name]));
const valueOf = (row, name) => (name === OVERALL ? overall(row) : row.scores[name]);
const novelty = (row) => { const shown = row.novelty.toFixed(2); return shown === "1.00" ? "more than 1.00" : shown; };
const unlike = (row) => row.novelty > 1;
const silent = (row) => row.loudest_dbfs < data.silence; // false for a row without a level
const names = () => (data.dimensions.length > 1 ? [...data.dimensions, OVERALL] : data.dimensions);

function percentile(sorted, share) {
  const place = (sorted.length - 1) * share, below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

function distribution(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return { mean: mean(values), median: percentile(sorted, 0.5), p5: percentile(sorted, 0.05), p95: percentile(sorted, 0.95) };
}

function histogram(values, name) {
  const width = 200, height = 76, bins = new Array(20).fill(0), step = (HIGHEST - LOWEST) / bins.length;
  for (const value of values) bins[Math.min(bins.length - 1, Math.max(0, Math.floor((value - LOWEST) / step)))] += 1;
  const most = Math.max(...bins), x = (value) => ((value - LOWEST) / (HIGHEST - LOWEST)) * width;
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Distribution of ${name}` });
  bins.forEach((count, bin) => {
    if (!count) return;
    const tall = Math.max(1.5, (count / most) * 54);
    const bar = shape("rect", { class: "bar", x: x(LOWEST + bin * step) + 0.7, y: 58 - tall, width: width / bins.length - 1.4, height: tall });
    bar.append(shape("title", {}, `${(LOWEST + bin * step).toFixed(1)} to ${(LOWEST + (bin + 1) * step).toFixed(1)}: ${count} ${count === 1 ? "song" : "songs"}`));
    drawing.append(bar);
  });
  const middle = x(distribution(values).median);
  drawing.append(shape("line", { class: "grid", x1: 0, x2: width, y1: 58.5, y2: 58.5 }));
  drawing.append(shape("line", { class: "median", x1: middle, x2: middle, y1: 0, y2: 58 }));
  for (let value = LOWEST; value <= HIGHEST; value += 1) {
    const anchor = value === LOWEST ? "start" : value === HIGHEST ? "end" : "middle";
    drawing.append(shape("text", { x: x(value), y: 72, "text-anchor": anchor }, String(value)));
  }
  return drawing;
}

function curves(row, height) {
  const curve = row.over_time, width = 620, left = 30, right = 8, top = 8, bottom = 26;
  const all = Object.values(curve.scores).flat();
  const margin = Math.max(0.5 - (Math.max(...all) - Math.min(...all)), 0.1) / 2;
  const low = Math.max(LOWEST, Math.min(...all) - margin), high = Math.min(HIGHEST, Math.max(...all) + margin);
  const length = row.seconds || Math.max(...curve.seconds);
  const x = (second) => left + (second / length) * (width - left - right);
  const y = (score) => top + ((high - score) / (high - low || 1)) * (height - top - bottom);
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Scores over time" });
  const step = high - low > 1.6 ? 0.5 : high - low > 0.8 ? 0.25 : 0.1;
  for (let score = Math.ceil(low / step) * step; score <= high + 1e-9; score += step) {
    drawing.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(score), y2: y(score) }));
    drawing.append(shape("text", { x: left - 4, y: y(score) + 4, "text-anchor": "end" }, score.toFixed(step < 0.5 ? (step < 0.25 ? 1 : 2) : 1)));
  }
  const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((seconds) => length / seconds <= 10) || 3600;
  for (let second = 0; second <= length; second += every) {
    const label = length > 120 ? `${Math.floor(second / 60)}:${String(second % 60).padStart(2, "0")}` : `${second} s`;
    const anchor = second === 0 ? "start" : x(second) > width - 20 ? "end" : "middle"; // so that no label is cut off
    drawing.append(shape("text", { x: x(second), y: height - 8, "text-anchor": anchor }, label));
  }
  for (const [name, values] of Object.entries(curve.scores)) {
    const points = values.map((value, at) => [curve.seconds[at], value]);
    // A single window covers the whole song: its scores are drawn from the beginning to the end.
    const line = points.length > 1 ? points : [[0, values[0]], [length, values[0]]];
    const drawn = line.map(([second, value]) => `${x(second).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    drawing.append(shape("polyline", { points: drawn, fill: "none", stroke: colour(name), "stroke-width": 1.8 }));
  }
  return drawing;
}

function radar(row) {
  const size = 230, centre = size / 2, reach = 70, count = data.dimensions.length;
  const at = (number, score) => {
    const angle = (number / count) * 2 * Math.PI - Math.PI / 2, radius = ((score - LOWEST) / (HIGHEST - LOWEST)) * reach;
    return [centre + radius * Math.cos(angle), centre + radius * Math.sin(angle)];
  };
  const ring = (score) => data.dimensions.map((_, number) => at(number, typeof score === "number" ? score : score[number]).map((v) => v.toFixed(1)).join(",")).join(" ");
  const drawing = shape("svg", { viewBox: `-75 0 ${size + 150} ${size}`, width: size + 150, height: size, role: "img", "aria-label": "Scores of the whole song" });
  for (const score of [2, 3, 4, 5]) drawing.append(shape("polygon", { class: "grid", points: ring(score) }));
  drawing.append(shape("polygon", { points: ring(data.dimensions.map((name) => row.scores[name])), fill: COLOURS[0], "fill-opacity": 0.2, stroke: COLOURS[0], "stroke-width": 2 }));
  data.dimensions.forEach((name, number) => {
    const [x, y] = at(number, 5.6), anchor = Math.abs(x - centre) < 8 ? "middle" : x > centre ? "start" : "end";
    drawing.append(shape("text", { x, y: y + 4, "text-anchor": anchor }, `${name} ${row.scores[name].toFixed(1)}`));
  });
  return drawing;
}

function legend() {
  const list = element("div", { class: "legend" });
  for (const name of data.dimensions) {
    const mark = element("i");
    mark.style.background = colour(name);
    list.append(element("span", {}, mark, name));
  }
  return list;
}

function player(row) {
  return element("audio", { controls: "", preload: "none", src: row.audio, "aria-label": `Listen to ${labels.get(row)}` });
}

function drawOverview(rows) {
  const cards = [], lines = [element("tr", {}, ...["", "mean", "median", "5th percentile", "95th percentile"].map((text) => element("th", {}, text)))];
  for (const name of names()) {
    const values = rows.map((row) => valueOf(row, name)), found = distribution(values);
    cards.push(element("div", { class: "card" }, element("h3", {}, name), element("span", { class: "big" }, found.mean.toFixed(2)),
      element("small", {}, ` median ${found.median.toFixed(2)}`), histogram(values, name)));
    lines.push(element("tr", { "data-dimension": name }, element("th", { class: "group" }, name),
      ...["mean", "median", "p5", "p95"].map((key) => element("td", {}, found[key].toFixed(2)))));
  }
  byId("histograms").replaceChildren(...cards);
  byId("summary").replaceChildren(...lines);
}

function drawGroups(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row.group || "", [...(groups.get(row.group || "") || []), row]);
  byId("groups").hidden = !data.by;
  if (!data.by) return;
  byId("groups-title").textContent = `By ${data.by}`;
  const ranked = [...groups].sort((a, b) => mean(b[1].map(overall)) - mean(a[1].map(overall)));
  const head = element("tr", {}, ...[data.by, "songs", ...names()].map((text, at) => element("th", at ? {} : { class: "group" }, text)));
  const lines = ranked.map(([group, members]) => element("tr", {}, element("th", { class: "group" }, group || "(none)"), element("td", {}, String(members.length)),
    ...names().map((name) => element("td", {}, mean(members.map((row) => valueOf(row, name))).toFixed(2)))));
  byId("groups-table").replaceChildren(head, ...lines);
}

function card(row) {
  const scores = data.dimensions.map((name) => `${name}\u00a0${row.scores[name].toFixed(2)}`).join(" · ");
  const node = element("div", { class: "card" }, element("div", { class: "name" }, element("span", {}, labels.get(row)), element("span", {}, overall(row).toFixed(2))));
  if (data.dimensions.length > 1) node.append(element("div", { class: "scores" }, scores));
  if (silent(row)) node.append(element("div", { class: "flag", title: row.warning }, "⚠ silence: the scores mean nothing"));
  if (row.damage) node.append(element("div", { class: "flag", title: row.warning }, "⚠ damaged: part of the file could not be read"));
  if (unlike(row)) node.append(element("div", { class: "flag", title: row.warning }, `⚠ unlike the training songs (novelty ${novelty(row)})`));
  if (row.over_time && row.over_time.seconds.length > 1) node.append(curves(row, 120), legend());
  if (row.audio) node.append(player(row));
  else if (row.no_preview) node.append(element("small", {}, `no preview: ${row.no_preview}`));
  return node;
}

function drawExtremes(rows) {
  const ranked = [...rows].sort((a, b) => overall(b) - overall(a));
  const best = Math.min(EXTREMES, Math.ceil(rows.length / 2)), worst = Math.min(EXTREMES, rows.length - best);
  byId("best").replaceChildren(...ranked.slice(0, best).map(card));
  byId("worst").replaceChildren(...ranked.slice(ranked.length - worst).reverse().map(card));
  byId("worst").parentNode.hidden = worst === 0;
}

// Columns have keys of their own, because the group may have the name of another column.
const columns = () => [
  { key: "song", value: (row) => labels.get(row), kind: "text" },
  ...(data.by ? [{ key: "group", label: data.by, value: (row) => row.group || "", kind: "group" }] : []),
  ...names().map((name) => ({ key: name, value: (row) => (scored(row) ? valueOf(row, name) : null), kind: "score" })),
  { key: "length", value: (row) => row.seconds ?? null, kind: "time" },
  { key: "notes", value: (row) => (row.error ? 1e9 : silent(row) ? 1e8 : row.damage ? 1e7 : row.novelty ?? 0), kind: "notes" },
];

function cell(row, column) {
  const value = column.value(row);
  if (column.kind === "text" || column.kind === "group") return element("td", { class: column.kind }, value);
  if (column.kind === "time") return element("td", {}, value === null ? "" : `${Math.floor(Math.round(value) / 60)}:${String(Math.round(value) % 60).padStart(2, "0")}`);
  if (column.kind === "notes") {
    const note = element("td", { class: "group" });
    if (row.error) note.append(element("span", { class: "error" }, "failed"));
    const flags = [...(silent(row) ? ["⚠ silence"] : []), ...(row.damage ? ["⚠ damaged"] : []), ...(unlike(row) ? [`⚠ novelty ${novelty(row)}`] : [])];
    note.append(element("div", { class: "flags" }, ...flags.map((text) => element("span", { class: "flag", title: row.warning }, text))));
    return note;
  }
  if (value === null) return element("td", {}, "–");
  const node = element("td", { class: "score" }, value.toFixed(2));
  node.style.setProperty("--share", `${((value - LOWEST) / (HIGHEST - LOWEST)) * 100}%`);
  if (row.std && column.key in row.std) node.append(element("small", {}, ` ±${row.std[column.key].toFixed(2)}`));
  return node;
}

function details(row, span) {
  const box = element("td", { class: "detail", colspan: span });
  box.append(element("p", {}, row.path || row.song_id));
  if (row.error) box.append(element("p", { class: "error" }, row.error));
  if (row.warning) box.append(element("p", { class: "flag" }, `⚠ ${row.warning}`));
  if (scored(row)) {
    const drawings = element("div", { class: "drawings" });
    if (row.over_time) drawings.append(element("div", {}, curves(row, 200), legend()));
    if (data.dimensions.length > 2) drawings.append(radar(row));
    box.append(drawings);
  }
  if (row.audio) box.append(player(row));
  return element("tr", { class: "details" }, box);
}

function ordered(rows, column) {
  const sign = state.descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const x = column.value(a), y = column.value(b);
    if (x === null || y === null) return (x === null) - (y === null); // failed songs come last in both orders
    return sign * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
  });
}

function drawTable() {
  const shown = columns(), chosen = shown.find((column) => column.key === state.key) || shown[0];
  const head = element("tr", {}, ...shown.map((column) => {
    const button = element("button", { type: "button", "data-key": column.key }, column.label ?? column.key);
    button.addEventListener("click", () => sortBy(column));
    const heading = element("th", { scope: "col", class: column.kind === "notes" ? "group" : column.kind }, button);
    if (column === chosen) heading.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    return heading;
  }));
  const wanted = state.filter.toLowerCase();
  const rows = data.rows.filter((row) => `${row.song_id}\n${row.path}\n${row.group || ""}`.toLowerCase().includes(wanted));
  const lines = [];
  for (const row of ordered(rows, chosen)) {
    const line = element("tr", { class: state.open.has(row) ? "song open" : "song", tabindex: "0" }, ...shown.map((column) => cell(row, column)));
    const toggle = () => { if (!state.open.delete(row)) state.open.add(row); drawTable(); };
    line.addEventListener("click", toggle);
    line.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(); });
    lines.push(line);
    if (state.open.has(row)) lines.push(details(row, shown.length));
  }
  byId("songs").tHead.replaceChildren(head);
  byId("songs").tBodies[0].replaceChildren(...lines);
  byId("shown").textContent = wanted ? `${rows.length} of ${data.rows.length} songs.` : "";
}

function sortBy(column) {
  const text = column.kind === "text" || column.kind === "group";
  state.descending = state.key === column.key ? !state.descending : !text;
  state.key = column.key;
  drawTable();
}

function draw() {
  label(data.rows);
  const rows = data.rows.filter(scored), failed = data.rows.length - rows.length;
  const soundless = rows.filter(silent).length, flagged = rows.filter(unlike).length, damaged = rows.filter((row) => row.damage).length;
  const counts = [`${rows.length} ${rows.length === 1 ? "song" : "songs"} scored`, ...(failed ? [`${failed} failed`] : []),
    ...(soundless ? [`${soundless} silent`] : []), ...(damaged ? [`${damaged} damaged`] : []), ...(flagged ? [`${flagged} unlike the training songs`] : []), ...(data.about ? [data.about] : [])];
  byId("counts").textContent = counts.join(" · ");
  byId("caution").textContent = data.caution ? `⚠ ${data.caution}` : "";
  byId("caution").hidden = !data.caution;
  for (const id of ["overview", "extremes"]) byId(id).hidden = rows.length === 0;
  byId("all").hidden = data.rows.length === 0;
  byId("spread").hidden = !rows.some((row) => row.std);
  if (rows.length) {
    drawOverview(rows);
    drawGroups(rows);
    drawExtremes(rows);
  }
  drawTable();
}

byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; drawTable(); });
state.key = names().at(-1);
draw();

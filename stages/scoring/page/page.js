"use strict";
// Data, names and elements of the page. Names are untrusted: they become text nodes, never markup.
const LOWEST = 1, HIGHEST = 5, EXTREMES = 5, OVERALL = "Mean", COLOURS = 5;
const data = JSON.parse(document.getElementById("data").textContent);
const state = { key: OVERALL, descending: true, filter: "", page: 0, perPage: 50, open: new Set(), full: false, printing: false };
const byId = (id) => document.getElementById(id);
const shownCount = (number) => number.toLocaleString("en");
const songs = (number) => `${shownCount(number)} ${number === 1 ? "song" : "songs"}`;
const fixed = (value) => value.toFixed(2);

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

function clock(seconds) {
  const whole = Math.round(seconds), two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

// The name of each song: its id, or its path if several songs have the same id.
let labels = new Map();
function label(rows) {
  const count = new Map();
  for (const row of rows) count.set(row.song_id, (count.get(row.song_id) || 0) + 1);
  labels = new Map(rows.map((row) => [row, (count.get(row.song_id) > 1 && row.path) || row.song_id]));
}
const nameOf = (row) => element("bdi", {}, labels.get(row)); // isolates names that are written from right to left

const scored = (row) => Object.keys(row.scores).length > 0;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const overall = (row) => mean(data.dimensions.map((name) => row.scores[name]));
const novelty = (row) => { const shown = fixed(row.novelty); return shown === "1.00" ? "more than 1.00" : shown; };
const unlike = (row) => row.novelty > 1;
const silent = (row) => row.loudest_dbfs < data.silence; // false for a row without a level
const names = () => (data.dimensions.length > 1 ? [...data.dimensions, OVERALL] : data.dimensions);

// One entry per kind of score: first ours, then those of other models, each model on its own scale.
let scores = [];
function findScores(rows) {
  const ours = names().map((name) => ({ key: name, label: name, model: "", low: LOWEST, high: HIGHEST,
    value: (row) => (!scored(row) ? null : name === OVERALL ? overall(row) : row.scores[name]) }));
  const models = new Map();
  for (const row of rows) for (const [model, found] of Object.entries(row.beside || {})) {
    const known = models.get(model) || new Map();
    for (const [name, value] of Object.entries(found)) known.has(name) ? known.get(name).push(value) : known.set(name, [value]);
    models.set(model, known);
  }
  const others = [...models].flatMap(([model, dimensions]) => [...dimensions].map(([name, values], at) => {
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const scale = data.beside[model]?.[name]?.scale || [Math.floor(low), Math.max(Math.ceil(high), Math.floor(low) + 1)];
    return { key: `${model}\n${name}`, label: name, model, first: at === 0, span: dimensions.size, low: scale[0], high: scale[1],
      value: (row) => row.beside?.[model]?.[name] ?? null };
  }));
  scores = [...ours, ...others];
}
const fullName = (score) => (score.model ? `${score.model}: ${score.label}` : score.label);

// Redraws, and goes on playing what was playing.
function keepPlaying(redraw) {
  const was = [...document.querySelectorAll("audio")].find((audio) => !audio.paused);
  redraw();
  const now = was && [...document.querySelectorAll("audio")].find((audio) => audio.src === was.src);
  if (!now || now === was) return;
  now.currentTime = was.currentTime;
  now.play();
}

function draw() {
  label(data.rows);
  findScores(data.rows);
  const rows = data.rows.filter(scored);
  drawHeader(rows);
  byId("overview").hidden = rows.length === 0;
  byId("all").hidden = data.rows.length === 0;
  byId("spread").hidden = !rows.some((row) => row.std);
  byId("scale").hidden = !rows.some((row) => row.over_time);
  keepPlaying(() => {
    drawOverview(rows);
    drawExtremes(rows);
    drawTable();
  });
}

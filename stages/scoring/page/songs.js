// The table of all songs: sorting, filter, pages, keys.
// Columns have keys of their own, because the group may have the name of another column.
const columns = () => [
  { key: "song", value: (row) => labels.get(row), kind: "text" },
  ...(data.by ? [{ key: "group", label: data.by, value: (row) => row.group || "", kind: "group" }] : []),
  ...scores.map((score) => ({ ...score, kind: "score" })),
  { key: "length", value: (row) => row.seconds ?? null, kind: "time" },
  { key: "notes", value: (row) => (row.error ? 1e9 : silent(row) ? 1e8 : row.damage ? 1e7 : row.novelty ?? 0), kind: "notes" },
];
const looks = (column) => (column.kind === "notes" ? "group" : column.kind) + (column.model ? " other" : "") + (column.first ? " other-first" : "");

function notes(row) {
  const flags = [...(silent(row) ? ["silence"] : []), ...(row.damage ? ["damaged"] : []), ...(unlike(row) ? [`novelty ${novelty(row)}`] : []),
    ...Object.keys(row.beside_errors || {}).map((model) => `${model} failed`)];
  const failed = row.error ? [element("span", { class: "error" }, `failed: ${brief(row.error, 80)}`)] : [];
  return element("div", { class: "flags" }, ...failed, ...flags.map((text) => element("span", { class: "flag", title: row.warning }, `⚠ ${text}`)));
}

function cell(row, column) {
  const value = column.value(row), node = element("td", { class: looks(column) });
  if (column.kind === "text") node.append(element("button", { type: "button", tabindex: "-1", "aria-expanded": state.open.has(row) }, nameOf(row)));
  else if (column.kind === "group") node.append(element("bdi", {}, value));
  else if (column.kind === "notes") node.append(notes(row));
  else if (value === null) node.append(column.kind === "time" ? "" : "–");
  else if (column.kind === "time") node.append(clock(value));
  else {
    const bar = element("span", { class: "bar" }, fixed(value));
    bar.style.setProperty("--share", Math.min(1, Math.max(0, (value - column.low) / (column.high - column.low))));
    if (!column.model && row.std && column.key in row.std) bar.append(element("small", {}, ` ±${fixed(row.std[column.key])}`));
    node.append(bar);
  }
  return node;
}

function details(row, span) {
  const box = element("div"), audio = player(row);
  box.append(element("p", {}, row.path || row.song_id));
  if (row.error) box.append(element("p", { class: "error" }, row.error));
  if (row.warning) box.append(element("p", { class: "flag" }, `⚠ ${row.warning}`));
  if (scored(row)) {
    const drawings = element("div", { class: "drawings" });
    if (row.over_time) drawings.append(curves(row, 200, audio));
    if (data.dimensions.length > 2) drawings.append(radar(row));
    box.append(drawings);
  }
  if (audio) box.append(audio);
  return element("tr", { class: "details" }, element("td", { class: "detail", colspan: span }, box));
}

function ordered(rows, column) {
  const sign = state.descending ? -1 : 1;
  return rows.map((row) => [row, column.value(row)]).sort(([, x], [, y]) => {
    if (x === null || y === null) return (x === null) - (y === null); // failed songs come last in both orders
    return sign * (typeof x === "string" ? collator.compare(x, y) : x - y);
  }).map(([row]) => row);
}
const collator = new Intl.Collator(undefined, { numeric: true }); // 50 times as fast as localeCompare

function filtered() {
  const wanted = state.filter.toLowerCase();
  return data.rows.filter((row) => `${row.song_id}\n${row.path}\n${row.group || ""}`.toLowerCase().includes(wanted));
}

function heading(shown, chosen) {
  const line = element("tr", {}, ...shown.map((column) => {
    const button = element("button", { type: "button", "data-key": column.key }, column.label ?? column.key);
    button.addEventListener("click", () => sortBy(column));
    const head = element("th", { scope: "col", class: looks(column) }, state.printing ? button.textContent : button); // browsers do not repeat buttons on each sheet
    if (column === chosen) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    return head;
  }));
  const firsts = shown.filter((column) => column.first);
  if (!firsts.length) return [line];
  // A line above it names the models, each over its columns.
  const before = shown.indexOf(firsts[0]), models = firsts.map((column) => element("th", { scope: "colgroup", colspan: column.span, class: "other-first" }, `${column.model}, ${column.low} to ${column.high}`));
  return [element("tr", { class: "models" }, element("td", { colspan: before }), ...models, element("td", { colspan: 2 })), line];
}

function drawTable() {
  const shown = columns(), chosen = shown.find((column) => column.key === state.key) || shown[0], rows = ordered(filtered(), chosen);
  const perPage = state.printing ? Infinity : state.perPage, last = Math.max(0, Math.ceil(rows.length / perPage) - 1);
  state.page = Math.min(state.page, last);
  const first = state.page ? state.page * perPage : 0, lines = rows.slice(first, first + perPage).flatMap((row) => songLines(row, shown));
  lines[0]?.querySelector("button").setAttribute("tabindex", "0");
  byId("songs").tHead.replaceChildren(...heading(shown, chosen));
  byId("songs").tBodies[0].replaceChildren(...lines);
  const some = rows.length < data.rows.length;
  byId("shown").textContent = some ? `${shownCount(rows.length)} of ${songs(data.rows.length)}` : songs(rows.length);
  byId("download").textContent = some ? `Download ${songs(rows.length)} as CSV` : "Download as CSV";
  byId("download").disabled = rows.length === 0;
  byId("page").textContent = `Page ${shownCount(state.page + 1)} of ${shownCount(last + 1)}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page === last;
  byId("pages").hidden = data.rows.length <= 50;
}

function songLines(row, shown) {
  const line = element("tr", { class: state.open.has(row) ? "song open" : "song" }, ...shown.map((column) => cell(row, column)));
  line.addEventListener("click", () => {
    if (String(getSelection())) return; // the reader selects text
    const opened = !state.open.delete(row);
    if (opened) {
      state.open.add(row);
      line.after(details(row, shown.length));
    } else line.nextSibling.remove();
    line.classList.toggle("open", opened);
    line.querySelector("button").setAttribute("aria-expanded", opened);
  });
  return state.open.has(row) ? [line, details(row, shown.length)] : [line];
}

function sortBy(column) {
  const text = column.kind === "text" || column.kind === "group";
  state.descending = state.key === column.key ? !state.descending : !text;
  state.key = column.key;
  state.page = 0;
  drawTable();
  byId("songs").querySelector("th[aria-sort] button").focus();
}

function turn(pages) {
  state.page = Math.max(0, state.page + pages);
  drawTable();
}

// Only one song's button can be reached with Tab; the arrow keys choose which.
function focusSong(button) {
  if (!button) return;
  for (const other of byId("songs").querySelectorAll('tr.song button[tabindex="0"]')) other.setAttribute("tabindex", "-1");
  button.setAttribute("tabindex", "0");
  button.focus();
}

byId("songs").addEventListener("keydown", (event) => {
  const buttons = [...byId("songs").querySelectorAll("tr.song button")], line = event.target.closest("tr");
  const row = line?.classList.contains("details") ? line.previousSibling : line;
  const at = buttons.indexOf(row?.querySelector("button"));
  if (at < 0 || !row.classList.contains("song")) return;
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
  if (event.key in moves) focusSong(buttons[moves[event.key]]);
  else if (event.key === "PageDown" || event.key === "PageUp") {
    turn(event.key === "PageDown" ? 1 : -1);
    focusSong(byId("songs").querySelector("tr.song button"));
  } else if (event.key === "Escape" && row.classList.contains("open")) {
    buttons[at].click();
    focusSong(buttons[at]);
  } else return;
  event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select") || byId("all").hidden) return;
  event.preventDefault();
  byId("filter").focus();
});
byId("filter").addEventListener("input", (event) => {
  state.filter = event.target.value;
  state.page = 0;
  drawTable();
});
byId("filter").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "Enter") focusSong(byId("songs").querySelector("tr.song button"));
  else if (event.key === "Escape" && state.filter === "") event.target.blur();
});
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
byId("per-page").addEventListener("change", (event) => {
  state.perPage = Number(event.target.value);
  state.page = 0;
  drawTable();
});
byId("full").addEventListener("change", (event) => {
  state.full = event.target.checked;
  draw();
});

// Everything about all songs: counts, failures, distributions, groups, and the best and worst.
function drawHeader(rows) {
  const failed = data.rows.filter((row) => !scored(row));
  const doubts = { silent, damaged: (row) => row.damage, "unlike the training songs": unlike };
  const found = Object.entries(doubts).map(([text, doubt]) => [rows.filter(doubt).length, text]);
  const counts = [...(data.rows.length ? [`${songs(rows.length)} scored`] : []), ...(failed.length ? [element("a", { href: "#failures" }, `${shownCount(failed.length)} failed`)] : []),
    ...found.filter(([count]) => count).map(([count, text]) => `${shownCount(count)} ${text}`), ...(data.about ? [data.about] : [])];
  byId("counts").replaceChildren(...counts.flatMap((part, at) => (at ? [" · ", part] : [part])));
  byId("caution").textContent = data.caution ? `⚠ ${data.caution}` : "";
  byId("caution").hidden = !data.caution;
  byId("failures").hidden = failed.length === 0;
  byId("failed").replaceChildren(...failed.map((row) => element("li", {}, element("strong", {}, nameOf(row)), ": ", element("span", { class: "error" }, row.error || "no scores"))));
}

const headings = (...texts) => element("tr", {}, ...texts.map((text) => (text ? element("th", { scope: "col" }, text) : element("td"))));

function drawOverview(rows) {
  const cards = [], lines = [];
  for (const score of scores) {
    const values = rows.map(score.value).filter((value) => value !== null), found = distribution(values);
    if (!values.length) continue;
    cards.push(element("div", { class: score.model ? "card other" : "card" }, element("h3", { title: fullName(score) }, fullName(score)), element("span", { class: "big" }, fixed(found.mean)),
      element("small", {}, ` median ${fixed(found.median)}`), histogram(values, score)));
    lines.push(element("tr", { "data-dimension": score.key }, element("th", { scope: "row" }, fullName(score)),
      ...["mean", "median", "p5", "p95"].map((key) => element("td", {}, fixed(found[key])))));
  }
  byId("histograms").replaceChildren(...cards);
  byId("summary").tHead.replaceChildren(headings("", "mean", "median", "5th percentile", "95th percentile"));
  byId("summary").tBodies[0].replaceChildren(...lines);
}

function drawGroups() {
  byId("groups").hidden = !data.groups.length;
  if (!data.groups.length) return;
  byId("groups-title").textContent = `By ${data.by}`;
  const last = names().at(-1);
  byId("groups-table").tHead.replaceChildren(headings(data.by, "songs", ...names(), `${last}, from 1 to 5`));
  byId("groups-table").tBodies[0].replaceChildren(...data.groups.map(({ group, songs: count, means }) => {
    const cells = names().map((name) => {
      const [value, low, high] = means[name];
      return element("td", {}, fixed(value), ...(low === null ? [] : [element("br"), element("small", {}, `${fixed(low)}–${fixed(high)}`)]));
    });
    return element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, group || "(none)")), element("td", {}, shownCount(count)), ...cells, element("td", {}, interval(means[last], `${last} of ${group}`)));
  }));
}

// Rank correlations of our scores with those of other models.
function drawAgreement() {
  const found = Object.entries(data.beside).flatMap(([model, dimensions]) => Object.entries(dimensions).map(([name, { srcc }]) => [model, name, srcc]));
  const known = found.filter(([, , srcc]) => Object.keys(srcc).length);
  byId("agreement").hidden = known.length === 0;
  byId("agreement-table").tHead.replaceChildren(headings("", ...names()));
  byId("agreement-table").tBodies[0].replaceChildren(...known.map(([model, name, srcc]) => element("tr", {}, element("th", { scope: "row" }, `${model}: ${name}`),
    ...names().map((ours) => element("td", {}, srcc[ours] == null ? "–" : fixed(srcc[ours]))))));
}

function card(row) {
  const texts = data.dimensions.map((name) => `${name}\u00a0${fixed(row.scores[name])}`).join(" · ");
  const node = element("div", { class: "card" }, element("div", { class: "name" }, nameOf(row), element("span", {}, fixed(overall(row)))));
  const flag = (text) => node.append(element("div", { class: "flag", title: row.warning }, `⚠ ${text}`));
  if (data.dimensions.length > 1) node.append(element("div", { class: "scores" }, texts));
  if (row.damage) flag("damaged: part of the file could not be read");
  if (unlike(row)) flag(`unlike the training songs (novelty ${novelty(row)})`);
  const audio = player(row);
  if (row.over_time && row.over_time.seconds.length > 1) node.append(curves(row, 120, audio));
  if (audio) node.append(audio);
  else if (row.no_preview) node.append(element("small", {}, `no preview: ${row.no_preview}`));
  return node;
}

// Scores of silence mean nothing, so it is neither best nor worst.
function drawExtremes(rows) {
  const ranked = rows.filter((row) => !silent(row)).sort((a, b) => overall(b) - overall(a));
  const best = Math.min(EXTREMES, Math.ceil(ranked.length / 2)), worst = Math.min(EXTREMES, ranked.length - best);
  byId("best").replaceChildren(...ranked.slice(0, best).map(card));
  byId("worst").replaceChildren(...ranked.slice(ranked.length - worst).reverse().map(card));
  byId("worst").parentNode.hidden = worst === 0;
  byId("extremes").hidden = best === 0;
}

function drawFacts() {
  byId("facts").replaceChildren(...Object.entries(data.facts).flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
  byId("facts").parentNode.hidden = Object.keys(data.facts).length === 0;
}

// Drawings of scores: distributions, intervals, and the radar of a song.
const chart = (width, height, text, attributes = {}) => shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": text, ...attributes });
const brief = (text, length) => ([...text].length > length ? `${[...text].slice(0, length - 1).join("")}…` : text);
const paint = (name) => `var(--c${Math.max(0, data.dimensions.indexOf(name)) % COLOURS})`;

function percentile(sorted, share) {
  const place = (sorted.length - 1) * share, below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

function distribution(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return { mean: mean(values), median: percentile(sorted, 0.5), p5: percentile(sorted, 0.05), p95: percentile(sorted, 0.95) };
}

function histogram(values, { low, high, ...score }) {
  const width = 150, base = 58, bins = new Array(20).fill(0), step = (high - low) / bins.length, found = distribution(values);
  for (const value of values) bins[Math.min(bins.length - 1, Math.max(0, Math.floor((value - low) / step)))] += 1;
  const most = Math.max(...bins), x = (value) => ((value - low) / (high - low)) * width;
  const text = `Distribution of ${fullName(score)} over ${songs(values.length)}: from ${fixed(Math.min(...values))} to ${fixed(Math.max(...values))}, median ${fixed(found.median)}`;
  const drawing = chart(width, 74, text, { width: "100%" });
  bins.forEach((count, bin) => {
    if (!count) return;
    const tall = Math.max(1.5, (count / most) * 54);
    const bar = shape("rect", { class: "column", x: x(low + bin * step) + 0.5, y: base - tall, width: width / bins.length - 1, height: tall });
    bar.append(shape("title", {}, `${(low + bin * step).toFixed(1)} to ${(low + (bin + 1) * step).toFixed(1)}: ${songs(count)}`));
    drawing.append(bar);
  });
  drawing.append(shape("line", { class: "grid", x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5 }));
  drawing.append(shape("line", { class: "median", x1: x(found.median), x2: x(found.median), y1: 0, y2: base }));
  for (let value = low; value <= high; value += high - low > 5 ? Math.ceil((high - low) / 4) : 1) {
    const anchor = value === low ? "start" : value === high ? "end" : "middle";
    drawing.append(shape("text", { x: x(value), y: 71, "text-anchor": anchor }, String(value)));
  }
  return drawing;
}

// A mean and its interval on the scale from 1 to 5.
function interval([value, low, high], name) {
  const width = 200, x = (score) => 2 + ((score - LOWEST) / (HIGHEST - LOWEST)) * (width - 4);
  const text = `${name}: ${fixed(value)}` + (low === null ? "" : `, 95 % interval from ${fixed(low)} to ${fixed(high)}`);
  const drawing = chart(width, 18, text);
  drawing.append(shape("line", { class: "grid", x1: x(LOWEST), x2: x(HIGHEST), y1: 9, y2: 9 }));
  for (let score = LOWEST; score <= HIGHEST; score += 1) drawing.append(shape("line", { class: "grid", x1: x(score), x2: x(score), y1: 6, y2: 12 }));
  if (low !== null) drawing.append(shape("rect", { class: "range", x: x(low), width: x(high) - x(low), y: 5, height: 8 }));
  drawing.append(shape("line", { class: "mean", x1: x(value), x2: x(value), y1: 2, y2: 16 }));
  return drawing;
}

function radar(row) {
  const width = 400, height = 230, middle = [width / 2, height / 2], reach = 74, count = data.dimensions.length;
  const at = (number, score) => {
    const angle = (number / count) * 2 * Math.PI - Math.PI / 2, radius = ((score - LOWEST) / (HIGHEST - LOWEST)) * reach;
    return [middle[0] + radius * Math.cos(angle), middle[1] + radius * Math.sin(angle)];
  };
  const ring = (of) => data.dimensions.map((name, number) => at(number, of(name)).map((v) => v.toFixed(1)).join(",")).join(" ");
  const text = data.dimensions.map((name) => `${name} ${fixed(row.scores[name])}`).join(", ");
  const drawing = chart(width, height, `Scores of the whole song, from 1 to 5: ${text}`);
  for (const score of [2, 3, 4, 5]) drawing.append(shape("polygon", { class: "grid", points: ring(() => score) }));
  const area = shape("polygon", { points: ring((name) => row.scores[name]), "fill-opacity": 0.2, "stroke-width": 2 });
  area.style.cssText = "fill: var(--c0); stroke: var(--c0)";
  drawing.append(area);
  data.dimensions.forEach((name, number) => {
    const [x, y] = at(number, 5.6), anchor = Math.abs(x - middle[0]) < 8 ? "middle" : x > middle[0] ? "start" : "end";
    drawing.append(shape("text", { x, y: y + 4, "text-anchor": anchor }, `${brief(name, 14)} ${row.scores[name].toFixed(1)}`, shape("title", {}, name)));
  });
  return drawing;
}

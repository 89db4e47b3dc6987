// Scores over time, and hearing a song from a point of them.
const durationOf = (row) => row.seconds || row.over_time.seconds.at(-1) + row.over_time.window / 2;

// The first and last window's scores last until the song's beginning and end.
function points(row, values) {
  const curve = row.over_time;
  return [[0, values[0]], ...values.map((value, at) => [curve.seconds[at], value]), [durationOf(row), values.at(-1)]];
}

function valueAt(row, values, second) {
  const all = points(row, values), after = Math.max(1, all.findIndex(([time]) => time >= second));
  const [[left, low], [right, high]] = [all[after - 1], all[after]];
  return right > left ? low + ((high - low) * (second - left)) / (right - left) : high;
}

function scaleOf(curve) {
  if (state.full) return [LOWEST, HIGHEST, 1];
  const all = Object.values(curve.scores).flat(), least = Math.min(...all), most = Math.max(...all);
  const margin = Math.max(0.5 - (most - least), 0.1) / 2;
  const low = Math.max(LOWEST, least - margin), high = Math.min(HIGHEST, most + margin);
  return [low, high, high - low > 1.6 ? 0.5 : high - low > 0.8 ? 0.25 : 0.1];
}

function curves(row, height, audio) {
  const curve = row.over_time, [low, high, step] = scaleOf(curve), length = durationOf(row);
  const width = Math.max(200, Math.min(620, document.documentElement.clientWidth - 70)), left = 30, right = 8, top = 8, bottom = 24;
  const x = (second) => left + (second / length) * (width - left - right);
  const y = (score) => top + ((high - score) / (high - low || 1)) * (height - top - bottom);
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + 1e-9; number += 1) {
    const score = number * step;
    drawing.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(score), y2: y(score) }));
    drawing.append(shape("text", { x: left - 4, y: y(score) + 4, "text-anchor": "end" }, score.toFixed(step === 1 ? 0 : step === 0.25 ? 2 : 1)));
  }
  const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((seconds) => length / seconds <= width / 62) || 3600;
  const times = [];
  for (let second = 0; x(second) < width - right - 40; second += every) times.push(second);
  for (const second of [...times, length]) {
    const anchor = second === 0 ? "start" : second === length ? "end" : "middle"; // so that no label is cut off
    drawing.append(shape("text", { x: x(second), y: height - 6, "text-anchor": anchor }, clock(second)));
  }
  if (audio && row.audio_seconds) {
    drawing.append(shape("rect", { class: "heard", x: x(row.audio_start), y: top, width: x(row.audio_start + row.audio_seconds) - x(row.audio_start), height: height - top - bottom }));
  }
  for (const [name, values] of Object.entries(curve.scores)) {
    const drawn = points(row, values).map(([second, value]) => `${x(second).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const line = shape("polyline", { class: "curve", points: drawn });
    line.style.stroke = paint(name);
    drawing.append(line);
  }
  return listening(row, drawing, { x, second: (place) => ((place * width - left) / (width - left - right)) * length, top, bottom: height - bottom }, audio);
}

// A slider over the song's time: its legend tells the scores at a point, and the song plays from there.
function listening(row, drawing, axes, audio) {
  const length = durationOf(row), curve = row.over_time, start = row.audio_start || 0, legend = element("div", { class: "legend" });
  const cursor = shape("line", { class: "cursor", y1: axes.top, y2: axes.bottom, visibility: "hidden" });
  drawing.append(cursor);
  const ranges = Object.entries(curve.scores).map(([name, values]) => `${name} from ${fixed(Math.min(...values))} to ${fixed(Math.max(...values))}`);
  const slider = element("div", { class: "player", role: "slider", tabindex: "0", "aria-valuemin": 0, "aria-valuemax": length.toFixed(1), "aria-valuenow": 0,
    "aria-label": `Scores over time of ${labels.get(row)}: ${ranges.join(", ")}` }, drawing);
  const tell = (before, textOf, after) => {
    legend.replaceChildren(...before, ...Object.keys(curve.scores).map((name) => {
      const mark = element("i");
      mark.style.background = paint(name);
      return element("span", {}, mark, textOf(name));
    }), ...after);
  };
  tell([], (name) => name, []);
  let now = 0;
  const move = (second, ...note) => {
    now = Math.min(length, Math.max(0, second));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, axes.x(now));
    cursor.setAttribute("visibility", "visible");
    tell([clock(now)], (name) => `${name} ${fixed(valueAt(row, curve.scores[name], now))}`, note);
    slider.setAttribute("aria-valuenow", now.toFixed(1));
    slider.setAttribute("aria-valuetext", [...legend.childNodes].map((node) => node.textContent).join(", "));
  };
  const hear = () => {
    if (!audio) return;
    const end = row.audio_seconds ? start + row.audio_seconds : length;
    if (now < start || now > end) return move(now, `The preview covers ${clock(start)} to ${clock(end)}.`);
    audio.currentTime = now - start;
    audio.play();
  };
  slider.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    move(axes.second((event.clientX - box.left) / box.width));
    hear();
  });
  slider.addEventListener("keydown", (event) => {
    const places = { ArrowLeft: now - curve.hop, ArrowRight: now + curve.hop, ArrowDown: now - curve.hop, ArrowUp: now + curve.hop, Home: 0, End: length };
    if (event.key in places) move(places[event.key]);
    else if (event.key === "Enter" || event.key === " ") hear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  audio?.addEventListener("timeupdate", () => move(start + audio.currentTime));
  return element("div", {}, slider, legend);
}

function player(row) {
  return row.audio ? element("audio", { controls: "", preload: "none", src: row.audio, "aria-label": `Listen to ${labels.get(row)}` }) : null;
}

// Download of the songs that the filter shows, in the columns of `hear-head predict --csv`.
// Text that a spreadsheet would run as a formula begins with an apostrophe, as in stages/common/csv_text.py.
const NUMBER = String.raw`(?:[+-]|[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|inf|nan))(?=[;\t]|$)`;
const FORMULA = new RegExp(String.raw`(?<=^|[;\t])(?='*[^\S;\t\r]*(?!${NUMBER})[=+\-@＝＋－＠\t\r\0])`, "g");

function csvText(rows) {
  const six = (value) => value?.toFixed(6) ?? "", list = data.dimensions, others = scores.filter((score) => score.model);
  const head = ["song_id", "path", "group", ...list, ...list.map((name) => `${name}_std`), "novelty", "warning", "error", "loudest_dbfs", "caution",
    ...others.map(({ model, label }) => `${model}.${label}`)];
  const lines = rows.map((row) => [row.song_id, row.path, row.group ?? "", ...list.map((name) => six(row.scores[name])), ...list.map((name) => six(row.std?.[name])),
    six(row.novelty), row.warning ?? "", row.error ?? "", row.loudest_dbfs?.toFixed(1) ?? "", row.caution ?? "", ...others.map((score) => six(score.value(row)))]);
  return [head, ...lines].map((line) => {
    const cells = line.map((text) => text.replace(FORMULA, "'")), all = cells.some((text) => text.includes("\r"));
    return `${cells.map((text) => (all || /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(",")}\n`;
  }).join("");
}

byId("download").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([csvText(filtered())], { type: "text/csv" }));
  element("a", { href: address, download: "scores.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
});

// The service's page: scores chosen or dropped files one after the other, and adds each to the report.
const box = byId("upload"), chooser = byId("files"), progress = byId("progress"), bar = byId("bar"), queue = [];
let busy = false, added = 0;

// The page shows the name beside the reason, which often begins with it.
const reasonOf = (file, answer) => String(answer.detail).replace(`${file.name}: `, "");

async function scoreOne(file) {
  const body = new FormData();
  body.append("audio", file, file.name);
  try {
    const answer = await fetch("score", { method: "POST", body });
    const row = await answer.json();
    if (answer.ok) return { ...row, audio: URL.createObjectURL(file) };
    return { song_id: file.name, path: file.name, scores: {}, error: reasonOf(file, row) };
  } catch (error) {
    return { song_id: file.name, path: file.name, scores: {}, error: `no answer from the service: ${error.message}` };
  }
}

async function work() {
  if (busy) return;
  busy = true;
  bar.hidden = false;
  while (queue.length) {
    const file = queue.shift();
    bar.max = added;
    bar.value = added - queue.length - 1;
    progress.textContent = `Scoring ${brief(file.name, 60)}, ${shownCount(added - queue.length)} of ${shownCount(added)} …`;
    data.rows.push(await scoreOne(file));
    draw();
  }
  const failed = data.rows.slice(-added).filter((row) => !scored(row)).length;
  progress.textContent = `Done: ${songs(added - failed)} scored${failed ? `, ${shownCount(failed)} failed` : ""}. Drop more files to compare them.`;
  bar.hidden = true;
  added = 0;
  busy = false;
}

function add(files) {
  byId("introduction")?.removeAttribute("open");
  queue.push(...files);
  added += files.length;
  work();
}

chooser.addEventListener("change", () => { add(chooser.files); chooser.value = ""; });
for (const kind of ["dragover", "dragleave", "drop"]) {
  box.addEventListener(kind, (event) => {
    event.preventDefault();
    box.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}

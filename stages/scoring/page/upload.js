// The service's page: scores chosen or dropped files one after the other, and adds each to the report.
const box = byId("upload"), chooser = byId("files"), progress = byId("progress"), queue = [];
let busy = false;

async function scoreOne(file) {
  const body = new FormData();
  body.append("audio", file, file.name);
  try {
    const answer = await fetch("score", { method: "POST", body });
    const row = await answer.json();
    if (answer.ok) return { ...row, audio: URL.createObjectURL(file) };
    return { song_id: file.name, path: file.name, scores: {}, error: String(row.detail) };
  } catch (error) {
    return { song_id: file.name, path: file.name, scores: {}, error: `no answer from the service: ${error.message}` };
  }
}

async function work() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    const file = queue.shift();
    progress.textContent = `Scoring ${file.name}${queue.length ? `; ${queue.length} waiting` : ""} …`;
    data.rows.push(await scoreOne(file));
    draw();
  }
  progress.textContent = "Done. Drop more files to compare them.";
  busy = false;
}

function add(files) {
  byId("introduction")?.removeAttribute("open");
  queue.push(...files);
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

// The page's start: follow the server's progress, open the parts when the models are loaded, refresh them with the thresholds.
const POLL_MS = 500;
let part = "faces";

function choosePart(name) {
  part = name;
  for (const one of ["photo", "faces"]) {
    $(`${one}-part`).hidden = one !== name;
    $(`${one}-tab`).setAttribute("aria-selected", one === name);
    $(`${one}-tab`).tabIndex = one === name ? 0 : -1;
  }
}

function showProgress(state) {
  const share = state.total ? state.done / state.total : 0;
  const done = state.steps ? (Math.max(state.step - 1, 0) + share) / state.steps : share;
  const step = state.steps ? `: step ${Math.max(state.step, 1)} of ${state.steps}, ${Math.floor(100 * done)}%` : "";
  const meanwhile = state.ready ? ". Meanwhile the page shows similarities; decisions appear when this is done." : "…";
  $("background").hidden = !state.task;
  $("task").textContent = `${capitalise(state.task)}${step}${meanwhile}`;
  $("progress").hidden = false;
  if (state.steps || state.total) $("progress").value = done; else $("progress").removeAttribute("value");
  showError($("fault"), state.problem && `The thresholds could not be measured: ${state.problem}.`);
}

function begin() {
  $("finds").textContent = info.detector ? "InsightFace's detector finds and aligns the faces."
    : "No face detector is available: add aligned crops, as made by InsightFace or the command aird align.";
  startPhoto();
  startComparison();
  $("tabs").hidden = false;
  choosePart(info.photo ? "photo" : "faces");
  for (const name of ["photo", "faces"]) {
    $(`${name}-tab`).addEventListener("click", () => choosePart(name));
    $(`${name}-tab`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      choosePart(name === "photo" ? "faces" : "photo");
      $(`${part}-tab`).focus();
    });
  }
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  addEventListener("drop", (event) => takeFrom(event.dataTransfer));
  addEventListener("paste", (event) => { if (event.clipboardData.files.length) takeFrom(event.clipboardData); });
}

function takeFrom(transfer) {
  if (!info) return;
  if (part === "faces") uploadFrom(transfer, freeSlot()); else if (info.photo) takePhotoFrom(transfer);
}

async function start() {
  let changes = 0;
  for (;;) {
    const state = await request("/progress");
    showProgress(state);
    if (state.ready && (!info || state.changes !== changes)) {
      const first = !info;
      info = await request("/info");
      changes = state.changes;
      if (first) begin(); else { refreshComparison(); refreshPhoto(); }
    }
    if (state.ready && !state.task) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

start().catch((problem) => { $("background").hidden = true; showError($("fault"), problem.message); });

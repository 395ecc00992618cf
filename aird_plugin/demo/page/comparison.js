// Two faces: slots for the images, the slider, one card for each network.
const LOW = -0.2;
const DESCRIPTIONS = {
  "bicubic": "bicubic resize", "insightface-warp": "as FaceAnalysis aligns", "blur": "out of focus",
  "noise": "sensor noise", "jpeg": "JPEG compression",
  "realworld": "random mix",
};
const NAMES = ["First face", "Second face"];
// shown: the last response and its request, or null.
let shown = null, slots = [], next = 0, timer = 0;

function addSlot(number) {
  const root = $("slot").content.cloneNode(true).firstElementChild, find = (selector) => root.querySelector(selector);
  root.setAttribute("aria-label", NAMES[number]);
  find("img").alt = `${NAMES[number]}, aligned`;
  const slot = {root, find, face: null, turn: 0, name: NAMES[number]};
  root.querySelectorAll(".file").forEach((input) => onFiles(input, (files) => upload(slot, files[0])));
  find(".clear").addEventListener("click", () => { put(slot, null); find(".file").focus(); });
  acceptDrops(root, find(".frame"), (transfer) => uploadFrom(transfer, slot));
  $("slots").append(root);
  return slot;
}

function freeSlot() {
  const slot = slots.find((one) => !one.face) || slots[next];
  next = 1 - slots.indexOf(slot);
  return slot;
}

function uploadFrom(transfer, slot) {
  const files = [...transfer.files];
  if (!files.length) return showError(slot.find(".error"), "This is not an image file. Save the image first, then drop the file.");
  upload(slot, files[0]);
  if (files.length > 1) upload(slots[1 - slots.indexOf(slot)], files[1]);
}

async function upload(slot, file) {
  const turn = ++slot.turn, error = slot.find(".error");
  showError(error, "");
  if (tooLarge(file)) return showError(error, tooLarge(file));
  slot.find(".busy").hidden = false;
  try {
    const face = await request("/face", file);
    if (turn === slot.turn) put(slot, face);
  } catch (problem) {
    if (turn === slot.turn) showError(error, problem.message);
  } finally {
    if (turn === slot.turn) slot.find(".busy").hidden = true;
  }
}

function put(slot, face) {
  slot.turn++;
  slot.face = face;
  const image = slot.find("img");
  slot.find(".busy").hidden = true;
  slot.find(".hint").hidden = image.hidden = slot.find(".clear").hidden = true;
  (face ? image : slot.find(".hint")).hidden = false;
  slot.find(".clear").hidden = !face;
  slot.find(".frame").classList.toggle("full", Boolean(face));
  if (face) image.src = dataUrl(face.png); else image.removeAttribute("src");
  const size = face && face.px < 112 ? [`Original size of the face: ${Math.round(face.px)} px.`] : [];
  slot.find(".note").textContent = face ? [...face.notes, ...size].join(" ") : "";
  showError(slot.find(".error"), "");
  update();
}

const compare = oneAtATime(async () => {
  shown = null;
  showError($("error"), "");
  if (!slots.every((slot) => slot.face)) return show();
  $("results").setAttribute("aria-busy", "true");
  $("state").textContent = "Computing…";
  const faces = slots.map(({face}) => ({png: face.png, px: face.px}));
  const query = {faces, px: +$("px").value, degradation: $("degradation").value};
  try {
    shown = {query, response: await request("/comparison", JSON.stringify(query))};
  } catch (problem) {
    showError($("error"), problem.message);
  }
  show();
});

function update() {
  clearTimeout(timer);
  return compare();
}

function stateOf(missing) {
  if (missing) return `Add ${missing === 2 ? "two faces" : "the other face"}.`;
  if (!shown || shown.response.px >= shown.query.px) return "";
  return `One face has an original size of ${Math.round(shown.response.px)} px: a larger slider value adds no detail.`;
}

function show() {
  $("results").hidden = !shown;
  $("results").setAttribute("aria-busy", "false");
  $("state").textContent = stateOf(slots.filter((slot) => !slot.face).length);
  if (!shown) return;
  const {response, query} = shown;
  $("verdicts").replaceChildren(...response.networks.map(card));
  const low = figure(response.low, `Downsampled to ${query.px} px`);
  const inputs = response.networks.map((result) => figure(result.inputs_2SSC, `Input of the ${result.name}`));
  $("sights").replaceChildren(low, ...inputs);
}

function card(result) {
  const article = make("article", "card"), far = +$("far").value;
  const decision = result.decisions.find((one) => one.far === far), scale = make("div", "scale"), fill = make("div", "fill");
  const position = (cosine) => `${100 * Math.min(Math.max((cosine - LOW) / (1 - LOW), 0), 1)}%`;
  article.dataset.network = result.name;
  scale.setAttribute("aria-hidden", "true");
  scale.append(fill);
  fill.style.width = position(result.cosine);
  const cosine = make("p", "cosine", signed(result.cosine));
  article.append(make("h2", "", capitalise(result.name)), make("p", "small", "cosine similarity"), cosine, scale);
  if (!decision) {
    article.append(make("p", "small", `No decision: ${result.reason}.`));
  } else if (decision.above === null) {
    article.append(make("p", "verdict", `\u2013 no threshold for FAR ${percent(far)}`));
    article.append(make("p", "small", `${decision.n_impostor} impostor pairs are too few for this rate.`));
  } else {
    article.classList.toggle("above", decision.above);
    const mark = make("div", "mark");
    mark.style.left = position(decision.threshold);
    scale.append(mark);
    const side = decision.above ? "\u25B2 above" : "\u25BD below";
    article.append(make("p", "verdict", `${side} the threshold for FAR ${percent(far)}`));
    const origin = `measured on ${decision.n_impostor} impostor pairs at ${result.row_px} px`;
    article.append(make("p", "small", `Threshold ${signed(decision.threshold)}, ${origin}.`));
  }
  return article;
}

function figure(pngs, caption) {
  const root = make("figure"), row = make("div"), text = make("figcaption", "", caption);
  pngs.forEach((png, number) => {
    const image = make("img");
    image.alt = `${caption}: ${NAMES[number].toLowerCase()}`;
    image.addEventListener("load", () => {
      image.classList.toggle("pixels", image.naturalWidth < 112);
      if (!number && !caption.startsWith("Downsampled")) text.textContent = `${caption}: ${image.naturalWidth} px`;
    });
    image.src = dataUrl(png);
    row.append(image);
  });
  root.append(row, text);
  return root;
}

function limits() {
  const general = "Cosine similarities of different networks are on different scales. A cosine similarity does not prove "
    + "an identity: have every decision reviewed by a person.";
  if (!info.rates.length) return `No thresholds given (--thresholds or --pairs): only similarities are shown. ${general}`;
  const pairs = `${info.impostors.toLocaleString("en")} impostor pairs in ${info.pairs}`;
  return `FAR 1% means that about one of a hundred impostor pairs like the ${pairs} scores above the threshold. Other cameras and `
    + `other identities may have a higher rate. ${general}`;
}

function startComparison() {
  slots = [addSlot(0), addSlot(1)];
  $("degradation").append(...info.degradations.map((name) => new Option(`${name}: ${DESCRIPTIONS[name]}`, name)));
  $("degradation").value = info.degradation;
  [$("px").min, $("px").max] = info.px;
  $("least").textContent = `${info.px[0]} px`;
  info.examples.forEach((png, number) => {
    const button = make("button"), image = make("img"), identity = "ABC".charAt(number >> 1);
    button.type = "button";
    button.title = image.alt = `Synthetic identity ${identity}, image ${1 + number % 2}`;
    image.src = dataUrl(png);
    button.append(image);
    const notes = [`${image.alt}. Networks trained on photos may not separate synthetic faces.`];
    button.addEventListener("click", () => put(freeSlot(), {png, px: 112, notes}));
    $("examples").append(button);
  });
  $("px").addEventListener("input", () => {
    $("size").textContent = `${$("px").value} px`;
    clearTimeout(timer);
    timer = setTimeout(update, DEBOUNCE_MS);
  });
  $("size").textContent = `${$("px").value} px`;
  $("degradation").addEventListener("change", update);
  $("far").addEventListener("change", show);
  refreshComparison();
}

// After the thresholds have changed.
function refreshComparison() {
  setRates($("far"), info.rates, info.supported);
  $("rate").hidden = !info.rates.length;
  $("limits").textContent = limits();
  update();
}

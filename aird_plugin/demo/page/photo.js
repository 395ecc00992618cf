// Names in a photo: the photo at the slider's size, a box and a row for each face.
const LEAST_SHARE = 0.03, SAME_PLACE = 0.3;
// file: in base64. full: the response at full size with this gallery and rate, or null. seen: the last response.
const photo = {file: null, full: null, seen: null, turn: 0, timer: 0};

// The slider's steps are equal ratios.
const shareOf = (value) => LEAST_SHARE ** (1 - value / 100);
const rounded = (px) => px < 10 ? px.toFixed(1) : Math.round(px);

async function takePhoto(file) {
  showError($("photo-error"), tooLarge(file));
  if (tooLarge(file)) return;
  const turn = ++photo.turn;
  try {
    const bytes = await inBase64(file);
    if (turn !== photo.turn) return;
    Object.assign(photo, {file: bytes, seen: null});
    $("share").value = 100;
    recogniseAnew();
  } catch (problem) {
    showError($("photo-error"), problem.message);
  }
}

function takePhotoFrom(transfer) {
  const [file] = transfer.files;
  if (file) takePhoto(file);
  else showError($("photo-error"), "This is not an image file. Save the image first, then drop the file.");
}

async function takeExample() {
  try {
    const reply = await fetch("/example");
    if (!reply.ok) throw new Error("The example photo is not there; it comes with InsightFace.");
    takePhoto(await reply.blob());
  } catch (problem) {
    showError($("photo-error"), problem.message);
  }
}

const askPhoto = (file, share, gallery) => request("/photo", JSON.stringify({
  photo: file, share, far: info.photo.rates.length ? +$("photo-far").value : null, gallery,
}));

const recognise = oneAtATime(async () => {
  clearTimeout(photo.timer);
  if (!photo.file) return showPhoto();
  const {file, turn} = photo, share = shareOf($("share").value);
  showError($("photo-error"), "");
  $("stage").setAttribute("aria-busy", "true");
  $("photo-state").textContent = "Computing…";
  try {
    if (!photo.full) {
      const response = await askPhoto(file, 1, enrolled());
      // Of an earlier photo, gallery or rate: the run that waits asks anew.
      if (turn !== photo.turn) return;
      photo.full = {...response, faces: fromLeft(response)};
    }
    const response = share === 1 ? photo.full : await askPhoto(file, share, enrolled());
    if (turn !== photo.turn) return;
    photo.seen = response;
  } catch (problem) {
    if (turn === photo.turn) showError($("photo-error"), problem.message);
  }
  $("stage").setAttribute("aria-busy", "false");
  showPhoto();
});

// After a change that affects the photo at full size too.
function recogniseAnew() {
  photo.turn++;
  photo.full = null;
  recognise();
}

// A box as parts of the photo's sides.
const placed = (face, {width, height}) => face.box.map((side, n) => side / (n % 2 ? height : width));
const fromLeft = (response) => [...response.faces].sort((one, other) => one.box[0] - other.box[0]);

function overlap(one, other) {
  const side = (n) => Math.max(0, Math.min(one[n + 2], other[n + 2]) - Math.max(one[n], other[n]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]), common = side(0) * side(1);
  return common / (area(one) + area(other) - common);
}

// Every face of the photo at full size with what is left of it at this size, then faces found at this size only.
function joined() {
  const left = fromLeft(photo.seen), rows = [];
  for (const before of photo.full.faces) {
    const box = placed(before, photo.full);
    const scores = left.map((face) => overlap(box, placed(face, photo.seen))), best = Math.max(0, ...scores);
    const face = best > SAME_PLACE ? left.splice(scores.indexOf(best), 1)[0] : null;
    rows.push({before, face, box: face ? placed(face, photo.seen) : box});
  }
  return [...rows, ...left.map((face) => ({before: null, face, box: placed(face, photo.seen)}))];
}

// The kind of a face (a class of photo.css) and its name.
function verdict(face) {
  if (!face) return ["lost", "not detected"];
  if (!face.match) return ["open", ""];
  if (face.match.name === "unknown") return ["unknown", "unknown"];
  if (face.match.name !== null) return ["named", face.match.name];
  return ["open", face.match.candidates.length ? `${face.match.candidates[0][0]}?` : ""];
}

// Whether what is shown differs from the name in the photo at full size, be it by the "?" of no decision; null where there was none.
function isLost({before, face}) {
  if (!before || !["named", "open"].includes(verdict(before)[0]) || !verdict(before)[1]) return null;
  return verdict(before)[1] !== verdict(face)[1];
}

// The identity of the decision; without one, the most similar identity.
const nearest = ({match}) => match ? match.name ?? match.candidates[0]?.[0] : undefined;

// Whether the name is another one than in the photo at full size. No decision is no other name while its nearest identity is that one.
function isChanged({before, face}) {
  if (!isLost({before, face})) return false;
  return !face || verdict(face)[0] !== "open" || nearest(face) !== nearest(before);
}

function showPhoto() {
  const {seen, full} = photo, image = $("photo-image");
  $("found").hidden = image.hidden = $("photo-controls").hidden = !seen;
  $("photo-hint").hidden = Boolean(seen);
  $("stage").classList.toggle("full", Boolean(seen));
  $("enrol").hidden = !full || !full.faces.some((face) => face.embedding);
  $("boxes").replaceChildren();
  showGallery();
  if (!seen || !full) {
    $("photo-state").textContent = "Add a photo.";
    return;
  }
  const rows = joined(), ratio = full.width / full.height;
  $("stage").style.width = `min(100%, ${Math.max(full.width, 640)}px, calc(70vh * ${ratio}))`;
  image.style.aspectRatio = `${ratio}`;
  image.classList.toggle("pixels", seen.width < full.width);
  image.src = seen.image;
  $("photo-size").textContent = `${seen.width}\u00d7${seen.height} px`;
  $("share").setAttribute("aria-valuetext", $("photo-size").textContent);
  $("photo-state").textContent = summary(rows);
  $("boxes").replaceChildren(...rows.map(drawBox));
  const picture = new Image(), items = rows.map(drawRow);
  $("found-list").replaceChildren(...items);
  picture.addEventListener("load", () => items.forEach((item, n) => drawCrop(item.querySelector("canvas"), picture, rows[n].box)));
  picture.src = seen.image;
}

function summary(rows) {
  if (!rows.length) return "No face detected.";
  const faces = rows.map(({face}) => face).filter(Boolean), px = faces.map((face) => face.px).filter((one) => one !== null);
  const parts = [`${faces.length} of ${counted(rows.length, "face", "faces")} detected`], losses = rows.map(isLost).filter((lost) => lost !== null);
  if (px.length) parts[0] += `, ${[...new Set([Math.min(...px), Math.max(...px)].map(rounded))].join(" to ")} px`;
  const named = faces.filter((face) => verdict(face)[0] === "named").length;
  if (photo.seen === photo.full) {
    if (photo.seen.identities && info.photo.rates.length) parts.push(`${named} named`);
  } else if (losses.length) {
    parts.push(`${losses.filter((lost) => !lost).length} of ${losses.length} names as in the original photo`);
  }
  return `${parts.join("; ")}.`;
}

function drawBox(row, number) {
  const [kind, name] = verdict(row.face), box = make("div", `box ${kind}`), [x1, y1, x2, y2] = row.box;
  const percentage = (part) => `${(100 * Math.min(Math.max(part, 0), 1)).toFixed(2)}%`;
  Object.assign(box.style, {left: percentage(x1), top: percentage(y1)});
  Object.assign(box.style, {right: percentage(1 - x2), bottom: percentage(1 - y2)});
  box.classList.toggle("top", y1 < 0.08);
  box.classList.toggle("right", x1 > 0.7);
  box.classList.toggle("changed", isChanged(row));
  const tag = make("span", "tag", `${number + 1}`);
  if (name && kind !== "lost") tag.append(make("span", "tag-name", ` ${name}`));
  box.append(tag);
  return box;
}

function drawRow(row, number) {
  const [kind, name] = verdict(row.face), {face} = row, item = make("li", kind), match = face && face.match;
  item.classList.toggle("changed", isChanged(row));
  item.append(face ? make("canvas") : make("span", "none"));
  item.append(make("span", "name", `${number + 1}. ${name || "face"}`));
  item.append(make("span", "number", match && match.cosine !== null ? signed(match.cosine) : ""));
  item.append(make("span", "detail", details(row)));
  return item;
}

function details({before, face}) {
  if (!face) return "The detector finds it in the original photo, and not at this size.";
  if (face.px === null) return "Its landmarks are no face's; no network embeds it.";
  const parts = [`${rounded(face.px)} px, by ${face.network}`], {match} = face;
  if (!match) parts.push("no gallery yet");
  else if (match.name === null) parts.push(info.photo.rates.length ? `no decision: ${match.reason}` : "best match, no decision");
  else if (match.threshold !== null) {
    const rate = `${signed(match.threshold)} (FAR ${percent(match.far)})`;
    parts.push(match.name === "unknown" ? `below the threshold ${rate}, best match ${match.candidates[0][0]}`
      : `above the threshold ${rate}`);
  }
  if (isLost({before, face})) parts.push(`${verdict(before)[1].replace("?", "")} in the original photo`);
  return `${parts.join("; ")}.`;
}

// The face's pixels as they are at this size.
function drawCrop(canvas, picture, [x1, y1, x2, y2]) {
  if (!canvas) return;
  const width = (x2 - x1) * picture.naturalWidth, height = (y2 - y1) * picture.naturalHeight, side = Math.max(width, height);
  const left = (x1 + x2) / 2 * picture.naturalWidth - side / 2, top = (y1 + y2) / 2 * picture.naturalHeight - side / 2;
  canvas.width = canvas.height = 96;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, left, top, side, side, 0, 0, 96, 96);
}

function photoLimits() {
  const networks = info.photo.networks.map(({name, side, sizes}) => `${name} (input ${side} px) ${sizes}`);
  const routing = `Each face is embedded by the network for its size: ${networks.join(", ")}. `;
  if (!info.photo.rates.length) {
    return `${routing}No thresholds for photos were measured: the best match is shown without a decision. `
      + "Measure them with `aird calibrate`, or start the command with --pairs FILE or with an export that has thresholds.";
  }
  return `${routing}FAR holds for one comparison: with N identities in the gallery an unenrolled identity is named up to N times as often. `
    + "A single crop of 16 px rarely decides. A match does not prove an identity: have every decision reviewed by a person.";
}

function startPhoto() {
  $("no-photo").hidden = Boolean(info.photo);
  $("photo-tools").hidden = !info.photo;
  if (!info.photo) {
    $("no-photo").textContent = `${capitalise(info.no_photo)}.`;
    return;
  }
  for (const name of ["photo-file", "photo-camera"]) onFiles($(name), ([file]) => takePhoto(file));
  $("photo-example").addEventListener("click", takeExample);
  acceptDrops($("photo-card"), $("stage"), takePhotoFrom);
  $("share").addEventListener("input", () => {
    clearTimeout(photo.timer);
    photo.timer = setTimeout(recognise, DEBOUNCE_MS);
  });
  $("photo-far").addEventListener("change", recogniseAnew);
  startGallery();
  refreshPhoto();
}

// After the thresholds have changed.
function refreshPhoto() {
  if (!info.photo) return;
  setRates($("photo-far"), info.photo.rates);
  $("photo-rate").hidden = !info.photo.rates.length;
  $("photo-limits").textContent = photoLimits();
  recogniseAnew();
}

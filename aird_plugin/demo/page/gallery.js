// The identities that the user enrols on the page. They stay in the page, and go along with every request.
const IMAGE_NAMES = /\.(jpe?g|png|webp|bmp)$/i;
// name -> faces {embedding, px, network}.
const people = new Map();
let enrolling = "";

const enrolled = () => [...people].map(([name, faces]) => ({name, faces}));
const asEnrolled = (face) => ({embedding: face.embedding, px: face.px, network: face.network_id});

function showGallery() {
  const given = info.photo.gallery;
  const parts = [given ? `${counted(given, "identity", "identities")} of the command's gallery` : "", people.size ? `${people.size} enrolled on this page` : ""].filter(Boolean);
  $("gallery-state").textContent = enrolling || (parts.length ? `${parts.join(", ")}.`
    : "Nobody is enrolled. Enrol the faces of a photo at full size, then shrink it; or add photos named after the person "
      + "(Ann.jpg, or a folder Ann with photos).");
  $("forget").hidden = !people.size;
}

function listPeople() {
  $("people").replaceChildren(...[...people.keys()].map((name) => {
    const item = make("li"), input = make("input"), remove = make("button", "", "\u2715");
    input.value = name;
    input.maxLength = 60;
    input.setAttribute("aria-label", `Name of ${name}`);
    input.addEventListener("change", () => rename(name, input.value.trim()));
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => { people.delete(name); changed(); });
    item.append(input, remove);
    return item;
  }));
}

function changed() {
  listPeople();
  showGallery();
  recogniseAnew();
}

function rename(before, name) {
  const wrong = !name || name === "unknown" || (name !== before && people.has(name));
  showError($("gallery-error"), wrong ? "A name must not be empty, “unknown”, or taken." : "");
  if (wrong) return listPeople();
  const entries = [...people].map(([one, faces]) => [one === before ? name : one, faces]);
  people.clear();
  for (const [one, faces] of entries) people.set(one, faces);
  changed();
}

function enrolShown() {
  const known = new Set([...people.values()].flat().map((face) => face.embedding));
  photo.full.faces.forEach((face, place) => {
    if (!face.embedding || known.has(face.embedding)) return;
    // The name of a face of an earlier photo is that face's.
    let number = place + 1;
    while (people.has(`Person ${number}`)) number++;
    people.set(`Person ${number}`, [asEnrolled(face)]);
  });
  changed();
}

// FOLDER/ANN/photo.jpg and ANN.jpg are Ann.
function nameOf(file) {
  const parts = (file.webkitRelativePath || file.name).split("/");
  return parts.length > 2 ? parts[parts.length - 2] : parts[parts.length - 1].replace(/\.[^.]*$/, "");
}

async function enrolFiles(files) {
  const images = files.filter((file) => IMAGE_NAMES.test(file.name)), failed = [], found = new Map();
  showError($("gallery-error"), images.length ? "" : "No JPEG, PNG, WebP or BMP files among these.");
  for (const [number, file] of images.entries()) {
    enrolling = `Enrolling ${number + 1} of ${images.length} photos…`;
    showGallery();
    try {
      if (tooLarge(file)) throw new Error(tooLarge(file));
      const response = await askPhoto(await inBase64(file), 1, []), face = response.faces.find((one) => one.main);
      if (!face) throw new Error("no face detected");
      const name = nameOf(file);
      found.set(name, [...found.get(name) || [], asEnrolled(face)]);
    } catch (problem) {
      failed.push(`${file.name}: ${problem.message}`);
    }
  }
  enrolling = "";
  for (const [name, faces] of found) people.set(name === "unknown" ? "unknown (file)" : name, faces);
  const more = failed.length > 3 ? `; and ${failed.length - 3} more` : "";
  if (failed.length) showError($("gallery-error"), `Left out: ${failed.slice(0, 3).join("; ")}${more}`);
  changed();
}

function startGallery() {
  $("enrol").addEventListener("click", enrolShown);
  $("forget").addEventListener("click", () => { people.clear(); changed(); });
  for (const name of ["folder", "portraits"]) onFiles($(name), enrolFiles);
  showGallery();
}

"use strict";
// What both parts of the page share. The files of this folder are joined in the order of page_document.py.
const LIMIT_MB = 10, DEBOUNCE_MS = 120;
const $ = (id) => document.getElementById(id);
let info = null;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
const dataUrl = (png) => "data:image/png;base64," + png;
const capitalise = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const counted = (number, one, several) => `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
const percent = (far) => `${+(100 * far).toPrecision(3)}%`;
const signed = (cosine) => cosine.toFixed(3).replace("-", "\u2212");

function showError(element, message) {
  element.textContent = message;
  element.hidden = !message;
}

async function request(path, body) {
  let reply;
  try {
    reply = await fetch(path, body === undefined ? {} : {method: "POST", body});
  } catch {
    throw new Error("The server does not respond. Check that `aird demo` is still running.");
  }
  const result = await reply.json().catch(() => ({error: `the server responded with status ${reply.status}`}));
  if (!reply.ok) throw new Error(capitalise(result.error));
  return result;
}

// The message for a file over the limit, else "".
function tooLarge(file) {
  const megabytes = file.size / 1e6;
  return megabytes > LIMIT_MB ? `${file.name || "The image"} has ${megabytes.toFixed(1)} MB; the limit is ${LIMIT_MB} MB.` : "";
}

// A file's bytes in base64.
function inBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () => reject(new Error("The browser cannot read this file.")));
    reader.readAsDataURL(file);
  });
}

// Calls `pass` with one run at a time: calls during a run become one more run after it.
function oneAtATime(pass) {
  let running = false, again = false;
  return async function call() {
    again = running;
    if (running) return;
    running = true;
    await pass();
    running = false;
    if (again) call();
  };
}

// supported: the rates that the pairs are enough for, descending. At the start 1% is chosen, or the lowest supported rate above it.
function setRates(select, rates, supported = rates) {
  const before = select.value, start = supported.filter((far) => far >= 0.01).at(-1) ?? supported[0] ?? 0.01;
  select.replaceChildren(...rates.map((far) => new Option(percent(far), far, false, far === start)));
  if (rates.includes(+before)) select.value = before;
}

function acceptDrops(element, marked, take) {
  for (const kind of ["dragenter", "dragover"]) element.addEventListener(kind, () => marked.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) element.addEventListener(kind, () => marked.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    take(event.dataTransfer);
  });
}

function onFiles(input, take) {
  input.addEventListener("change", () => {
    if (input.files.length) take([...input.files]);
    input.value = "";
  });
}

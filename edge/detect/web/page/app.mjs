// Wires the page: a model and a medium in, boxes, list and frame rate out.

import { Detector } from "./detector.mjs";
import { drawFound, labelColour } from "./drawing.mjs";
import { closeMedium, eachFrame, mediumSize, openCamera, openFile } from "./medium.mjs";
import { describe } from "./model_file.mjs";
import { PageError } from "./page_error.mjs";
import { rows, Speed } from "./speed.mjs";

const NO_MODEL = "No model is chosen. Choose a .tflite file that `keras-retina export` wrote.";

const part = (id) => document.getElementById(id);
const overlay = document.createElement("canvas");
const page = { detector: null, medium: null, found: [], milliseconds: 0, speed: null };
const speeds = new Map(); // from the name of a file
const orders = { model: 0, medium: 0 };

function say(text, kind = "info") {
  part("message").textContent = text;
  part("message").dataset.kind = kind;
}

/** Runs what a person asked for; of two model files chosen quickly, or two media, `isCurrent` is true for the last. */
async function order(kind, work) {
  const number = (orders[kind] += 1);
  try {
    await work(() => orders[kind] === number);
  } catch (error) {
    if (orders[kind] !== number) return;
    say(error instanceof PageError ? error.message : `Unexpected: ${error.message ?? error}`, "error");
    if (!(error instanceof PageError)) console.error(error);
  }
}

function openModel(name, load) {
  return order("model", async (isCurrent) => {
    say(`Opening ${name} ...`);
    const bytes = await load();
    const description = describe(bytes, name);
    const detector = await Detector.open(bytes, description, name);
    if (!isCurrent()) return detector.close();
    page.detector?.close();
    page.detector = detector;
    page.speed = new Speed(name); // a file that is chosen again is measured anew
    speeds.set(name, page.speed);
    part("model").textContent = description
      ? `${name}: ${description.width} x ${description.height}, ${description.classNames.length} classes`
      : name;
    part("score").min = description?.scoreThreshold ?? 0;
    showScore();
    say(page.medium ? "" : "Choose a picture or a video, or press Camera.");
    look();
  });
}

function openMedium(open) {
  return order("medium", async (isCurrent) => {
    const element = await open();
    if (!isCurrent()) return closeMedium(element);
    leaveMedium();
    page.medium = element;
    page.speed?.pause();
    part("stage").replaceChildren(element, overlay);
    part("stage").hidden = false;
    part("camera").setAttribute("aria-pressed", String(Boolean(element.srcObject)));
    resizing.observe(element);
    if (element instanceof HTMLVideoElement) {
      element.addEventListener("pause", () => page.speed?.pause());
      eachFrame(element, look);
    }
    say(page.detector ? "" : NO_MODEL, "error");
    look();
  });
}

function leaveMedium() {
  if (!page.medium) return;
  resizing.unobserve(page.medium);
  closeMedium(page.medium);
  page.medium = null;
  page.found = [];
  part("stage").hidden = true;
  part("camera").setAttribute("aria-pressed", "false");
  show();
}

/** Detects in the picture, or in the frame that the video shows now. */
function look() {
  const { detector, medium } = page;
  if (!detector || !medium) return;
  const { height, width } = mediumSize(medium);
  const start = performance.now();
  try {
    page.found = detector.detect(medium, height, width);
  } catch (error) {
    page.detector = null; // a failed graph stays failed
    say(`The model stopped: ${error.message}. Choose it again, or another one.`, "error");
    return;
  }
  const end = performance.now();
  page.milliseconds = end - start;
  page.speed.add(start, end, medium instanceof HTMLVideoElement);
  showSpeeds();
  show();
}

function show() {
  const { medium } = page;
  const found = page.found.filter(({ score }) => score >= Number(part("score").value));
  if (medium) drawFound(overlay, medium, mediumSize(medium), found);
  const counts = new Map();
  for (const { label } of found) counts.set(label, (counts.get(label) ?? 0) + 1);
  const names = [...counts].map(([label, count]) => `${count} ${label}`).join(", ");
  const isStill = medium instanceof HTMLImageElement;
  part("summary").ariaLive = isStill ? "polite" : "off"; // every frame read aloud would be a nuisance
  part("summary").textContent = medium && page.detector ? names || "Nothing found" : "";
  part("rate").textContent = medium && page.detector ? rateText() : "";
  part("found").replaceChildren(...(isStill ? found.map(listItem) : []));
}

function rateText() {
  const each = `${page.milliseconds.toFixed(0)} ms each`;
  if (!(page.medium instanceof HTMLVideoElement) || page.speed.ends.length < 2) return each;
  return `${page.speed.rate.toFixed(1)} frames/s, ${each}`;
}

/** One line for each file that was opened; nothing of it leaves the page. */
function showSpeeds() {
  const lines = rows([...speeds.values()]).map((cells) => {
    const row = document.createElement("tr");
    for (const text of cells) row.insertCell().textContent = text;
    return row;
  });
  part("speeds").hidden = lines.length === 0;
  part("speeds").tBodies[0].replaceChildren(...lines);
}

function listItem({ label, score, box }) {
  const item = document.createElement("li");
  item.textContent = `${label} ${score.toFixed(2)}`;
  item.dataset.label = label;
  item.dataset.score = score;
  item.dataset.box = JSON.stringify(box); // [y1, x1, y2, x2], pixels of the picture
  item.style.setProperty("--colour", labelColour(label));
  return item;
}

function showScore() {
  part("score-value").textContent = Number(part("score").value).toFixed(2);
  show();
}

async function fetchModel(address) {
  const answer = await fetch(address).catch(() => null); // another server: connect-src refuses it
  if (!answer?.ok) {
    const received = answer ? `status ${answer.status}` : "no answer";
    throw new PageError(`${address}: expected a .tflite on the server of this page. Received: ${received}.`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

const resizing = new ResizeObserver(show);

part("model-file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) openModel(file.name, async () => new Uint8Array(await file.arrayBuffer()));
  target.value = ""; // so that the same file can be chosen again, after it was exported anew
});
part("medium-file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) openMedium(() => openFile(file));
  target.value = "";
});
part("camera").addEventListener("click", () => {
  if (part("camera").getAttribute("aria-pressed") === "true") leaveMedium();
  else openMedium(openCamera);
});
part("score").addEventListener("input", showScore);

const address = new URLSearchParams(location.search).get("model");
if (address) openModel(address.split("/").at(-1), () => fetchModel(address));
else say(NO_MODEL);

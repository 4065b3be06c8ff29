// What a .tflite says about itself: the zip of stored members that `keras-retina export` appends to the network.

import { PageError } from "./page_error.mjs";

const END_OF_ZIP = 0x06054b50;
const ENTRY = 0x02014b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 0xffff;

/**
 * Returns `{height, width, resize, head, scoreThreshold, classNames}`, or null for a file that others wrote.
 *
 * Throws a PageError for bytes that are no .tflite, and for a description that is damaged.
 */
export function describe(bytes, name) {
  if (new TextDecoder("latin1").decode(bytes.subarray(4, 8)) !== "TFL3") {
    throw new PageError(`${name}: expected a .tflite file. Received: ${bytes.length} bytes of another kind.`);
  }
  const members = zipMembers(bytes);
  if (!members.has("detector.json") || !members.has("export.json")) return null;
  try {
    const [spec, settings] = ["detector.json", "export.json"].map((member) => readJson(members.get(member)));
    const description = {
      height: spec.height,
      width: spec.width,
      resize: spec.resize,
      classNames: spec.class_names,
      head: settings.head,
      scoreThreshold: settings.score_threshold,
    };
    if (isUsable(description)) return description;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw new PageError(`${name}: the description inside is damaged. Export the file again.`);
}

/** Returns the members of a zip behind other bytes, `{name: bytes}`; compressed ones are left out. */
export function zipMembers(bytes) {
  const members = new Map();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = endOfZip(view);
  if (end === null) return members;
  const size = view.getUint32(end + 12, true);
  let position = end - size;
  const shift = position - view.getUint32(end + 16, true); // of a zip whose offsets do not count what stands before it
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (position < 0 || position + 46 > end || view.getUint32(position, true) !== ENTRY) break;
    const [method, length] = [view.getUint16(position + 10, true), view.getUint32(position + 24, true)];
    const [nameLength, extra, comment] = [28, 30, 32].map((at) => view.getUint16(position + at, true));
    const name = new TextDecoder().decode(bytes.subarray(position + 46, position + 46 + nameLength));
    const local = view.getUint32(position + 42, true) + shift;
    if (method === 0 && local >= 0 && local + 30 <= end) {
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      members.set(name, bytes.subarray(start, start + length));
    }
    position += 46 + nameLength + extra + comment;
  }
  return members;
}

function endOfZip(view) {
  const last = view.byteLength - END_BYTES;
  for (let position = last; position >= Math.max(0, last - LONGEST_COMMENT); position -= 1) {
    if (view.getUint32(position, true) === END_OF_ZIP) return position;
  }
  return null;
}

function readJson(bytes) {
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
}

function isUsable({ height, width, resize, classNames }) {
  const sides = [height, width].every((side) => Number.isInteger(side) && side > 0 && side <= 8192);
  return sides && ["stretch", "letterbox"].includes(resize) && Array.isArray(classNames);
}

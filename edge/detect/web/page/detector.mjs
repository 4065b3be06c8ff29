// MediaPipe's ObjectDetector, fed with pictures that were resized as in training.

import { PageError } from "./page_error.mjs";
import { placement, resizePixels } from "./resize.mjs";

const TASKS_VISION = new URL("./tasks-vision/", import.meta.url).href;
const FINE_SIDE = 1024; // pixels that MediaPipe is given at least, along the longer side
const LARGEST_SIDE = 4096; // a phone has no canvas for more

/** One opened model. */
export class Detector {
  /**
   * Opens the bytes of a .tflite; `description` comes from `describe`, null for a file that others wrote.
   *
   * Throws a PageError when MediaPipe is not beside the page, or does not take the file.
   */
  static async open(bytes, description, name) {
    const { FilesetResolver, ObjectDetector } = await loadMediaPipe();
    const fileset = await FilesetResolver.forVisionTasks(`${TASKS_VISION}wasm`);
    try {
      const task = await ObjectDetector.createFromOptions(fileset, {
        baseOptions: { modelAssetBuffer: bytes, delegate: "CPU" },
        runningMode: "IMAGE",
        scoreThreshold: 0, // the page has a slider
      });
      return new Detector(task, description);
    } catch (error) {
      throw new PageError(
        `${name}: expected a detector that MediaPipe opens. Received: ${reason(error)} ` +
          "Choose a file that `keras-retina export` wrote, one without _raw in its name.",
      );
    }
  }

  constructor(task, description) {
    this.task = task;
    this.description = description;
    this.picture = new OffscreenCanvas(1, 1).getContext("2d", { alpha: false, willReadFrequently: true });
    this.input = new OffscreenCanvas(1, 1).getContext("2d", { alpha: false });
    this.enlarged = document.createElement("canvas").getContext("2d", { alpha: false });
  }

  /**
   * Returns `[{label, score, box}]`, best first, of an image or video element with `height` x `width` pixels.
   *
   * `box` is `[y1, x1, y2, x2]` in pixels of the picture and inside it.
   */
  detect(element, height, width) {
    const { source, scaleY, scaleX } = this.prepare(element, height, width);
    const most = [height, width, height, width];
    const found = this.task.detect(source).detections.flatMap(({ boundingBox, categories }) => {
      const { originX, originY, width: boxWidth, height: boxHeight } = boundingBox;
      const box = [originY / scaleY, originX / scaleX, (originY + boxHeight) / scaleY, (originX + boxWidth) / scaleX];
      const inside = box.map((side, at) => Math.min(Math.max(side, 0), most[at]));
      // Detections with the same box come as one with several categories.
      return categories.map(({ categoryName, index, score }) => {
        return { label: categoryName || `class ${index}`, score, box: inside };
      });
    });
    return found.filter(({ box }) => box[2] > box[0] && box[3] > box[1]).sort((a, b) => b.score - a.score);
  }

  close() {
    this.task.close();
  }

  /** Returns what MediaPipe is given, and its pixels per pixel of the picture. */
  prepare(element, height, width) {
    const input = this.description;
    if (input === null) return { source: element, scaleY: 1, scaleX: 1 }; // MediaPipe stretches it
    const inner = placement({ height, width }, input);
    clear(this.input, input.height, input.width);
    this.input.putImageData(resizePixels(this.read(element, height, width), inner.height, inner.width), 0, 0);
    // MediaPipe rounds boxes to pixels of what it is given. Every pixel times `factor` leaves the network's input as
    // it is, and makes that rounding finer.
    const factor = Math.max(1, Math.ceil(FINE_SIDE / Math.max(input.height, input.width)));
    clear(this.enlarged, input.height * factor, input.width * factor);
    this.enlarged.imageSmoothingEnabled = false;
    this.enlarged.drawImage(this.input.canvas, 0, 0, input.width * factor, input.height * factor);
    const [scaleY, scaleX] = [(factor * inner.height) / height, (factor * inner.width) / width];
    return { source: this.enlarged.canvas, scaleY, scaleX };
  }

  /** Returns the pixels of the picture, transparent ones as black. */
  read(element, height, width) {
    const scale = Math.min(1, LARGEST_SIDE / Math.max(height, width));
    const [rows, columns] = [height, width].map((side) => Math.max(1, Math.round(side * scale)));
    clear(this.picture, rows, columns);
    this.picture.drawImage(element, 0, 0, columns, rows);
    return this.picture.getImageData(0, 0, columns, rows);
  }
}

async function loadMediaPipe() {
  try {
    return await import(`${TASKS_VISION}vision_bundle.mjs`);
  } catch {
    throw new PageError(
      "MediaPipe is missing: expected @mediapipe/tasks-vision as the folder tasks-vision beside this page. " +
        "Run `keras-retina serve-web`, which sees to that.",
    );
  }
}

/** Makes a canvas black; its size is set only when it changes, because that is slow. */
function clear(pencil, height, width) {
  const { canvas } = pencil;
  if (canvas.height !== height) canvas.height = height;
  if (canvas.width !== width) canvas.width = width;
  pencil.fillStyle = "#000";
  pencil.fillRect(0, 0, width, height);
}

/** Returns what MediaPipe says is wrong, without the state of its graph that follows. */
function reason(error) {
  const [line] = String(error?.message ?? error).trim().split(/[;\n]/);
  return `${line.replace(/^[A-Z_]+: /, "").slice(0, 300).replace(/\.$/, "")}.`;
}

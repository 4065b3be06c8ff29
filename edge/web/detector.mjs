// MediaPipe's ObjectDetector, fed with pictures that were resized as in training.

import { PageError } from "./page_error.mjs";

const TASKS_VISION = new URL("./tasks-vision/", import.meta.url).href;
const FINE_SIDE = 1024; // pixels that MediaPipe is given at least, along the longer side

/**
 * Returns where a picture comes to lie in the network's input: `{height, width}` in whole pixels, from the top left.
 *
 * The same numbers as `resize_image` of `edge/runtime.py`.
 */
export function placement(picture, input) {
  if (input.resize === "stretch") return { height: input.height, width: input.width };
  const scale = Math.min(input.height / picture.height, input.width / picture.width);
  const side = (pixels, most) => Math.min(most, Math.max(1, Math.floor(pixels * scale + 0.5)));
  return { height: side(picture.height, input.height), width: side(picture.width, input.width) };
}

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
        `${name}: expected a detector that MediaPipe opens. Received: ${firstLine(error)} ` +
          "Choose a file that `keras-retina export` wrote, one without _raw in its name.",
      );
    }
  }

  constructor(task, description) {
    this.task = task;
    this.description = description;
    this.input = document.createElement("canvas");
    this.enlarged = document.createElement("canvas");
  }

  /**
   * Returns `[{label, index, score, box}]`, best first, of an image or video element with `height` x `width` pixels.
   *
   * `box` is `[y1, x1, y2, x2]` in pixels of the picture and inside it.
   */
  detect(element, height, width) {
    const { source, scaleY, scaleX } = this.prepare(element, height, width);
    const found = this.task.detect(source).detections.map(({ boundingBox, categories: [category] }) => {
      const { originX, originY, width: boxWidth, height: boxHeight } = boundingBox;
      const box = [originY / scaleY, originX / scaleX, (originY + boxHeight) / scaleY, (originX + boxWidth) / scaleX];
      const most = [height, width, height, width];
      return {
        label: category.categoryName || `class ${category.index}`,
        index: category.index,
        score: category.score,
        box: box.map((side, at) => Math.min(Math.max(side, 0), most[at])),
      };
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
    resize(this.input, input.height, input.width);
    const pencil = this.input.getContext("2d", { alpha: false });
    pencil.imageSmoothingQuality = "high"; // MediaPipe itself would skip pixels of a large picture
    pencil.fillRect(0, 0, input.width, input.height);
    pencil.drawImage(element, 0, 0, inner.width, inner.height);
    // MediaPipe rounds boxes to pixels of what it is given. Every pixel times `factor` leaves the network's input as
    // it is, and makes that rounding finer.
    const factor = Math.max(1, Math.ceil(FINE_SIDE / Math.max(input.height, input.width)));
    resize(this.enlarged, input.height * factor, input.width * factor);
    const enlarging = this.enlarged.getContext("2d", { alpha: false });
    enlarging.imageSmoothingEnabled = false;
    enlarging.drawImage(this.input, 0, 0, this.enlarged.width, this.enlarged.height);
    return { source: this.enlarged, scaleY: (factor * inner.height) / height, scaleX: (factor * inner.width) / width };
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

/** Sets the size of a canvas, which clears it, only when it changes. */
function resize(canvas, height, width) {
  if (canvas.height !== height) canvas.height = height;
  if (canvas.width !== width) canvas.width = width;
}

function firstLine(error) {
  const [line] = String(error?.message ?? error).trim().split("\n");
  return line.length > 300 ? `${line.slice(0, 300)}...` : line.replace(/[^.]$/, "$&.");
}

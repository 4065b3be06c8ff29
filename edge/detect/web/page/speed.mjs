// How fast each file was in this browser: times of whole detections, and frames a second.

const KEPT = 500; // of the last detections of a file
const RATE_FRAMES = 20; // how many of the last frames the frame rate is taken from

/** Times of one file. */
export class Speed {
  constructor(name) {
    this.name = name;
    this.first = null; // milliseconds, from the picture to the boxes; the first picture waits for the machine code
    this.times = []; // of the others
    this.ends = []; // when the last frames of the running video were finished
    this.rate = null; // frames a second, of the video or camera that ran last
  }

  add(start, end, isVideo) {
    if (this.first === null) this.first = end - start;
    else this.times = [...this.times, end - start].slice(-KEPT);
    this.ends = isVideo ? [...this.ends, end].slice(-RATE_FRAMES) : [];
    if (this.ends.length > 1) this.rate = (1000 * (this.ends.length - 1)) / (this.ends.at(-1) - this.ends[0]);
  }

  /** A video was paused, or another one chosen: the next frame is the first. */
  pause() {
    this.ends = [];
  }

  /** Returns `{name, first, count, median, p95, rate}`; milliseconds, and null for what was not measured. */
  get summary() {
    const { name, first, times, rate } = this;
    return { name, first, count: times.length, median: quantile(times, 0.5), p95: quantile(times, 0.95), rate };
  }
}

/** Returns the smallest of some numbers that a share of them does not exceed; null of none. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}

/** Returns a row of a table for each file, as text. */
export function rows(speeds) {
  return speeds
    .map((speed) => speed.summary)
    .filter(({ first }) => first !== null)
    .map(({ name, first, count, median, p95, rate }) => [
      name,
      withUnit(first, "ms"),
      withUnit(median, "ms"),
      withUnit(p95, "ms"),
      withUnit(rate, "frames/s"),
      String(1 + count),
    ]);
}

function withUnit(value, unit) {
  return value === null ? "" : `${value.toFixed(1)} ${unit}`;
}

// How fast each file was in this browser: times of whole detections, and frames a second.

const KEPT = 500; // of the last detections of a file
const RATE_FRAMES = 20; // how many of the last frames the frame rate is taken from

/** Times of one file. */
export class Speed {
  constructor(name) {
    this.name = name;
    this.times = []; // milliseconds, from the picture to the boxes
    this.ends = []; // when the last frames of the running video were finished
    this.rate = null; // frames a second, of the video or camera that ran last
  }

  add(start, end, isVideo) {
    this.times = [...this.times, end - start].slice(-KEPT);
    this.ends = isVideo ? [...this.ends, end].slice(-RATE_FRAMES) : [];
    if (this.ends.length > 1) this.rate = (1000 * (this.ends.length - 1)) / (this.ends.at(-1) - this.ends[0]);
  }

  /** A video was paused, or another one chosen: the next frame is the first. */
  pause() {
    this.ends = [];
  }

  /** Returns `{name, count, median, p95, rate}`; milliseconds, and null without a video. */
  get summary() {
    const { name, times, rate } = this;
    return { name, count: times.length, median: quantile(times, 0.5), p95: quantile(times, 0.95), rate };
  }
}

/** Returns the smallest of some numbers that a share of them does not exceed; NaN of none. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

/** Returns a row of a table for each file, as text. */
export function rows(speeds) {
  return speeds
    .map((speed) => speed.summary)
    .filter(({ count }) => count > 0)
    .map(({ name, count, median, p95, rate }) => [
      name,
      `${median.toFixed(1)} ms`,
      `${p95.toFixed(1)} ms`,
      rate === null ? "" : `${rate.toFixed(1)} frames/s`,
      String(count),
    ]);
}

// Resizes as training and `edge/runtime.py` do. A browser's own drawImage skips pixels of a picture that is much larger
// than the network's input, and then other objects are found than those that the accuracy was measured with.

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

const WEIGHT_BITS = 22; // of the fixed-point weights, as in Pillow: 255 << 22 and the half still fit 32 bits
const HALF = 1 << (WEIGHT_BITS - 1);

/**
 * Returns an ImageData of `height` x `width` pixels, by the triangle filter that Pillow calls BILINEAR, bit by bit.
 *
 * Source: Pillow, src/libImaging/Resample.c: along the rows first, rounded to bytes between the two passes.
 */
export function resizePixels(source, height, width) {
  const columns = resizeLines(source.data, source.height, source.width, width);
  return new ImageData(resizeLines(columns, width, source.height, height), width, height);
}

/** Resizes `lines` lines from `from` to `to` pixels, and returns them as columns. */
function resizeLines(source, lines, from, to) {
  const filters = Array.from({ length: to }, (_, index) => filter(index, from, to));
  const target = new Uint8ClampedArray(4 * lines * to).fill(255);
  for (let line = 0; line < lines; line += 1) {
    for (let index = 0; index < to; index += 1) {
      const { first, weights } = filters[index];
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let at = 4 * (line * from + first);
      for (let number = 0; number < weights.length; number += 1) {
        const weight = weights[number];
        red += weight * source[at];
        green += weight * source[at + 1];
        blue += weight * source[at + 2];
        at += 4;
      }
      const place = 4 * (index * lines + line);
      target[place] = red >> WEIGHT_BITS;
      target[place + 1] = green >> WEIGHT_BITS;
      target[place + 2] = blue >> WEIGHT_BITS;
    }
  }
  return target;
}

/** Returns the source pixels that a target pixel is made of: the first one, and the weights in fixed point. */
function filter(index, from, to) {
  const support = Math.max(1, from / to);
  const middle = (index + 0.5) * (from / to);
  const first = Math.max(0, Math.trunc(middle - support + 0.5));
  const last = Math.min(from, Math.trunc(middle + support + 0.5));
  const weights = Float64Array.from({ length: last - first }, (_, number) =>
    Math.max(0, 1 - Math.abs((number + first - middle + 0.5) * (1 / support))),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return { first, weights: Int32Array.from(weights, (weight) => Math.trunc(0.5 + (weight / sum) * 2 ** WEIGHT_BITS)) };
}

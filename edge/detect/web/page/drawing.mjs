// Boxes on a canvas that lies over the picture.

// The colours of keras_retina/drawing.py, all light enough for black letters.
const PALETTE = [
  ...["#ff6347", "#2ecc71", "#3498ff", "#ffc828", "#ba68ff"],
  ...["#00ced1", "#ff69b4", "#9acd32", "#ff8c00", "#7890ff"],
];

/** Returns the colour of a class name: by its CRC-32, so that pictures of `keras-retina detect` have the same. */
export function labelColour(label) {
  let remainder = 0xffffffff;
  for (const byte of new TextEncoder().encode(label)) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ (0xedb88320 & -(remainder & 1));
  }
  return PALETTE[(~remainder >>> 0) % PALETTE.length];
}

/**
 * Draws boxes and labels, the best on top, on a canvas that covers an element; what was there before goes.
 *
 * `size` is `{height, width}` of the picture that the boxes are measured in.
 */
export function drawFound(canvas, element, size, found) {
  const { clientHeight, clientWidth } = element;
  const density = window.devicePixelRatio || 1;
  canvas.style.height = `${clientHeight}px`;
  canvas.style.width = `${clientWidth}px`;
  canvas.height = Math.round(clientHeight * density);
  canvas.width = Math.round(clientWidth * density);
  const pencil = canvas.getContext("2d");
  pencil.scale(density, density);
  const [scaleY, scaleX] = [clientHeight / size.height, clientWidth / size.width];
  for (const { label, score, box } of [...found].reverse()) {
    const [y1, x1, y2, x2] = [box[0] * scaleY, box[1] * scaleX, box[2] * scaleY, box[3] * scaleX];
    drawOne(pencil, [y1, x1, y2, x2], `${label} ${score.toFixed(2)}`, labelColour(label), clientWidth);
  }
}

function drawOne(pencil, [y1, x1, y2, x2], text, colour, width) {
  pencil.lineWidth = 2;
  pencil.strokeStyle = colour;
  pencil.strokeRect(x1, y1, x2 - x1, y2 - y1);
  pencil.font = "600 12px system-ui, sans-serif";
  pencil.textBaseline = "top";
  const textWidth = pencil.measureText(text).width + 6;
  const left = Math.max(0, Math.min(x1 - 1, width - textWidth));
  const top = y1 >= 17 ? y1 - 17 : y1;
  pencil.fillStyle = colour;
  pencil.fillRect(left, top, textWidth, 17);
  pencil.fillStyle = "#000";
  pencil.fillText(text, left + 3, top + 3);
}

// Boxes on a canvas that lies over the picture.

// The colours of keras_retina/foundation/drawing.py.
const PALETTE = [
  ...["#ff5a3c", "#0078ff", "#00fff0", "#e100d2", "#ffe100"],
  ...["#c35a78", "#00ff96", "#69964b", "#a5ff5a", "#f0a5ff"],
];
const PLATE = 17; // pixels of height behind a name
const taken = new Map(); // from the name of a class to the place of its colour, as long as the page is open

/**
 * Returns the colour of a class name: by its CRC-32, as `keras-retina detect` chooses it. Where another name has it
 * already, the next free one.
 */
export function labelColour(label) {
  if (!taken.has(label)) {
    let place = checksum(label) % PALETTE.length;
    const used = new Set(taken.values());
    while (used.size < PALETTE.length && used.has(place)) place = (place + 1) % PALETTE.length;
    taken.set(label, place);
  }
  return PALETTE[taken.get(label)];
}

function checksum(text) {
  let remainder = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ (0xedb88320 & -(remainder & 1));
  }
  return ~remainder >>> 0;
}

/** Returns black or white, whichever is read better on a colour. */
function letterColour(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 120 ? "#000" : "#fff";
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
  pencil.lineWidth = 2;
  pencil.font = "600 12px system-ui, sans-serif";
  pencil.textBaseline = "top";
  const plates = [];
  for (const { label, score, box } of found) {
    const text = `${label} ${score.toFixed(2)}`;
    const corners = [box[0] * scaleY, box[1] * scaleX, box[2] * scaleY, box[3] * scaleX];
    const width = pencil.measureText(text).width + 6;
    plates.push({ text, corners, width, colour: labelColour(label), ...place(corners, width, plates, element) });
  }
  plates.reverse();
  for (const { corners: [y1, x1, y2, x2], colour } of plates) {
    pencil.strokeStyle = colour;
    pencil.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  for (const { text, top, left, width, colour } of plates) {
    pencil.fillStyle = colour;
    pencil.fillRect(left, top, width, PLATE);
    pencil.fillStyle = letterColour(colour);
    pencil.fillText(text, left + 3, top + 3);
  }
}

/** Returns `{top, left}` of a plate at its box, where no plate before is if there is such a place. */
function place([y1, x1, y2, x2], width, plates, { clientHeight, clientWidth }) {
  const inside = (value, most) => Math.max(0, Math.min(value, most));
  const places = [y1 - PLATE, y2, y1, y2 - PLATE, y1 + PLATE, y1 - 2 * PLATE].flatMap((top) =>
    [x1 - 1, x2 - width].map((left) => {
      return { top: inside(top, clientHeight - PLATE), left: inside(left, clientWidth - width) };
    }),
  );
  const covers = ({ top, left }) =>
    plates.some((one) => {
      return Math.abs(one.top - top) < PLATE && left < one.left + one.width && one.left < left + width;
    });
  return places.find((one) => !covers(one)) ?? places[0];
}

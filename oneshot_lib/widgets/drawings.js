// What the widgets over sets of drawings share: bits out of bytes, and drawings on sheets. It stands before their modules.

const octets = (view) => view && new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// Drawing k of a row of packed ones, each begun on a byte of its own: `pixels` zeros and ones.
function drawingAt(packed, k, pixels) {
  const start = k * Math.ceil(pixels / 8);
  return Uint8Array.from({ length: pixels }, (_, i) => (packed[start + (i >> 3)] >> (7 - (i & 7))) & 1);
}

// Ink on a canvas that is as large as the drawing; a dark page turns it over with a filter.
function paintDrawing(canvas, drawing, size) {
  const [height, width] = size;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  drawing.forEach((ink, i) => picture.data.set([24, 28, 36, 255 * ink], 4 * i));
  context.putImageData(picture, 0, 0);
}

// A canvas on paper; without a label it is for its surroundings to say what it shows.
const inkSheet = (label) => `<span class="oneshot-sheet"><canvas ${
  label ? `role="img" aria-label="${label}"` : 'aria-hidden="true"'}></canvas></span>`;

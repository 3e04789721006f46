// What the book's widgets share. It is an ES module as it stands; a widget's script begins with
//   import { mount, number } from "./shell.js";
// and shell.py puts the two into the one module that a notebook or a page is handed.

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const times = (n, row) => Array.from({ length: n }, (_, k) => row(k)).join("");
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// "−1.20": a minus sign for a hyphen, and none before a zero.
export const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

// --- a figure in its place ---

// The figure's outermost element, filled and named. `look` is its class in the style sheet, as in Python; `name` what it
// is called where it has no label; `parts` its HTML, of which part("x") is the element with data-part="x"; `described`
// the part that the alternative text belongs to: as its label where it is a picture, else as a description.
export function mount({ model, el }, { look, name, parts, described }) {
  const root = document.createElement("div");
  root.className = `oneshot oneshot-player ${look}`;
  root.setAttribute("role", "group");
  // JupyterLab has plans of its own for the keys, unless the element that has the focus says this.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  root.innerHTML = `<p class="oneshot-label" data-part="label"></p>${parts}`;
  el.append(root);
  const part = (which) => root.querySelector(`[data-part="${which}"]`);
  const endings = [];
  let telling = false;

  const atEnd = (act) => endings.push(act);
  const close = () => endings.forEach((act) => act());
  function on(event, act) {
    model.on(event, act);
    atEnd(() => model.off(event, act));
  }

  // What Python sets. All values are told at once: the first change is heard here, too, while the others are still to
  // be told, and is not listened to.
  const hear = (names, act) => names.forEach((one) => on(`change:${one}`, () => telling || act()));
  function tell(values) {
    telling = true;
    for (const [one, value] of Object.entries(values)) model.set(one, value);
    telling = false;
    model.save_changes();
  }

  // What is drawn follows the page: its width, and whether it is light or dark.
  function follow(canvas, draw) {
    const sized = new ResizeObserver(draw), themed = new MutationObserver(draw);
    sized.observe(canvas);
    for (const node of [document.documentElement, document.body]) themed.observe(node, { attributes: true });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    atEnd(() => {
      sized.disconnect();
      themed.disconnect();
      dark.removeEventListener("change", draw);
    });
  }

  function label() {
    const text = model.get("label") || "", about = described ? part(described) : root;
    root.setAttribute("aria-label", text || name);
    part("label").textContent = text;
    part("label").hidden = !text;
    about.setAttribute(about.getAttribute("role") === "img" ? "aria-label" : "aria-description", model.get("description"));
  }
  hear(["label", "description"], label);
  label();
  return { model, root, part, on, hear, tell, follow, atEnd, close };
}

// Where a kernel is: ask(request) sends it, unless another one is under way, and says whether it did. `answered` is
// called after each answer; what went wrong in Python is read under the figure.
export function kernel({ model, root, part, on }, answered = () => {}) {
  let asked = 0;
  root.insertAdjacentHTML("beforeend", '<p class="oneshot-error" data-part="error" role="alert" hidden></p>');
  const say = () => {
    part("error").textContent = model.get("error");
    part("error").hidden = !model.get("error");
  };
  say();
  on("change:error", say);
  on("msg:custom", (message) => {
    if (message.answered === undefined) return;
    root.removeAttribute("aria-busy");
    answered();
  });
  return (request) => {
    if (root.hasAttribute("aria-busy")) return false;
    root.setAttribute("aria-busy", "true");
    model.send({ ...request, request: ++asked });
    return true;
  };
}

// --- what a reader moves ---

// A slider at `value`, its track filled up to there, and what a screen reader says of it.
export function slide(input, value, said) {
  const [low, high] = [+input.min, +input.max];
  input.value = value;
  input.style.setProperty("--done", `${high > low ? clamp((100 * (value - low)) / (high - low), 0, 100) : 100}%`);
  input.setAttribute("aria-valuetext", said);
}

// One of several, by its picture, HTML: the arrow keys go round. What is returned marks number k as the chosen one.
export function radios(group, names, picture, choose) {
  group.innerHTML = times(names.length, (k) => `<button type="button" role="radio">${picture(k)}</button>`);
  const all = [...group.children];
  all.forEach((radio, k) => {
    radio.setAttribute("aria-label", names[k]);
    radio.title = names[k];
    radio.addEventListener("click", () => choose(k));
    radio.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const next = (k + move + all.length) % all.length;
      choose(next);
      all[next].focus();
    });
  });
  return (chosen) => all.forEach((radio, k) => {
    radio.setAttribute("aria-checked", k === chosen);
    radio.tabIndex = k === chosen ? 0 : -1;
  });
}

// --- what moves by itself ---

// start(frame) calls frame(milliseconds since the last) until it returns false, or until stop().
export function ticker() {
  let request = 0;
  const stop = () => {
    cancelAnimationFrame(request);
    request = 0;
  };
  return {
    stop,
    running: () => request !== 0,
    start(frame) {
      stop();
      let last = performance.now();
      const tick = (now) => {
        const passed = now - last;
        last = now;
        if (frame(passed) === false) return stop();
        request = requestAnimationFrame(tick);
      };
      request = requestAnimationFrame(tick);
    },
  };
}

const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  again: "M8 3V.5L3.8 4 8 7.5V5a3.8 3.8 0 1 1-3.8 3.8h-2A5.8 5.8 0 1 0 8 3z",
  back: "M10.5 2.5v11L4 8z",
  forward: "M5.5 2.5v11L12 8z",
  check: "M6.3 13 1.6 8.2l1.7-1.7 3 3.1 6.4-6.7 1.7 1.7z",
};
export const icon = (name) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;

// Play, back and forward by a `unit`, speed, and where one is: the HTML of a row of buttons.
export const transport = (unit, more = "") => `
  <div class="oneshot-transport" data-part="transport">
    <button type="button" class="oneshot-play" data-part="play"></button>
    <button type="button" data-part="back" aria-label="one ${unit} back">${icon("back")}</button>
    <button type="button" data-part="forward" aria-label="one ${unit} forward">${icon("forward")}</button>
    <button type="button" class="oneshot-speed" data-part="speed" title="speed"></button>
    <span class="oneshot-step" data-part="step"></span>${more}
  </div>`;

// The row of buttons at work: `speeds` are pairs of a name and a factor, `again` what to play again is called. label()
// brings the buttons up to date, factor() is the speed chosen.
export function drive({ part }, { speeds, again, playing, ended, toggle, move }) {
  let speed = 0;
  const label = () => {
    const name = playing() ? "pause" : ended() ? "again" : "play";
    part("play").innerHTML = icon(name);
    part("play").title = name === "again" ? again : name;
    part("play").setAttribute("aria-label", part("play").title);
    part("speed").textContent = speeds[speed][0];
    part("speed").setAttribute("aria-label", `speed ${speeds[speed][0]}`);
  };
  part("play").addEventListener("click", toggle);
  part("back").addEventListener("click", () => move(-1));
  part("forward").addEventListener("click", () => move(1));
  part("speed").addEventListener("click", () => {
    speed = (speed + 1) % speeds.length;
    label();
  });
  return { label, factor: () => speeds[speed][1] };
}

// --- what is drawn ---

// The colours of the page as it is now: colour("text") is the style sheet's --oneshot-text.
export function colours(root) {
  const style = getComputedStyle(root);
  return (what) => style.getPropertyValue(`--oneshot-${what}`).trim();
}

// A canvas as sharp as the screen, in CSS pixels, with the page's colours and a pen; null where it is not shown.
export function sharp(canvas, root) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return null;
  const scale = Math.max(devicePixelRatio || 1, 1);
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = `12px ${getComputedStyle(root).fontFamily}`;
  const line = (points, stroke, thick = 1, dash = []) => {
    context.beginPath();
    for (const point of points) context.lineTo(...point);
    context.setLineDash(dash);
    Object.assign(context, { strokeStyle: stroke, lineWidth: thick });
    context.stroke();
    context.setLineDash([]);
  };
  return { context, width, height, colour: colours(root), line };
}

// A canvas as large as the picture, [height, width], of rgba(k) for every pixel k.
export function paintPixels(canvas, [height, width], rgba) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  for (let k = 0; k < height * width; k++) picture.data.set(rgba(k), 4 * k);
  context.putImageData(picture, 0, 0);
  return canvas;
}

// Ink is nearly black, at the opacity of its probability; a dark page turns the finished canvas over with a filter.
export const INK = [24, 28, 36];
export const paintDrawing = (canvas, drawing, size) => paintPixels(canvas, size, (k) => [...INK, 255 * drawing[k]]);

export const octets = (view) => view && new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// Drawing k of a row of packed ones, each begun on a byte of its own: `pixels` zeros and ones.
export function drawingAt(packed, k, pixels) {
  const start = k * Math.ceil(pixels / 8);
  return Uint8Array.from({ length: pixels }, (_, i) => (packed[start + (i >> 3)] >> (7 - (i & 7))) & 1);
}

// A canvas on paper; without a label it is for its surroundings to say what it shows.
export const inkSheet = (label) => `<span class="oneshot-sheet"><canvas ${
  label ? `role="img" aria-label="${label}"` : 'aria-hidden="true"'}></canvas></span>`;

// A drawing on paper that does not change, for a button that says what it shows. dark-light: the site's theme has a
// filter of its own for pictures on dark pages, and leaves this class alone.
export const inkPicture = (canvas) => {
  const picture = Object.assign(new Image(), { className: "dark-light", alt: "", src: canvas.toDataURL() });
  return `<span class="oneshot-sheet">${picture.outerHTML}</span>`;
};

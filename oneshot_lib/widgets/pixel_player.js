// The pixel player: an image written pixel by pixel, and where each pixel looks. Live in a kernel and alone in a page:
// shell.py.
import { clamp, drive, drawingAt, mount, octets, slide, ticker, transport } from "./shell.js";

const SCALE = 10; // canvas pixels a side of a pixel
const SECONDS = 20; // a whole image, most of them where there is ink
const RATES = [["1×", 1], ["½×", 0.5], ["2×", 2]];
const [DARK, PALE, ASKS, MEAN] = ["rgb(24 28 36)", "rgb(24 28 36 / 0.5)", "208 72 12", "rgb(0 84 150)"];
const PIXELS = `
  <div class="oneshot-sheets">
    <figure><figcaption>written so far</figcaption>
      <span class="oneshot-sheet"><canvas data-part="x" role="img"></canvas></span>
      <p class="oneshot-says" data-part="asks"></p></figure>
    <figure data-part="shown"><figcaption><span data-part="heading"></span></figcaption>
      <div class="oneshot-support" data-part="support"></div>
      <p class="oneshot-says" data-part="looks"></p></figure>
  </div>
  <p class="oneshot-key"><span><i class="oneshot-asks"></i> the pixel that asks</span>
    <span><i class="oneshot-weight"></i> its attention</span>
    <span><i class="oneshot-mean"></i> the mean place of it</span></p>
  <div class="oneshot-track">
    <input type="range" min="0" step="1" data-part="slider" aria-label="pixels written"></div>${transport("pixel", '<select data-part="example" aria-label="which image"></select>')}`;

const percent = (x) => `${Math.round(100 * x)}\u00a0%`;

function render(context) {
  const figure = mount(context, {
    look: "oneshot-pixels", name: "an image written pixel by pixel", parts: PIXELS, described: "x",
  });
  const { model, root, part, hear, tell, atEnd, close } = figure;
  const slider = part("slider"), clock = ticker();
  let scenes, scene, ink, place, share, first, where, weight, shown, x, drawings, busy;
  let W, T, example = 0, at = 0;

  // --- one moment: `at` pixels are written, and pixel `at` asks ---

  const corner = (i) => [SCALE * (i % W), SCALE * Math.floor(i / W)];
  const square = (context, i) => context.fillRect(...corner(i), SCALE, SCALE);

  function paintWritten(context) {
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.fillStyle = DARK;
    for (let i = 0; i < at; i++) if (x[i]) square(context, i);
    if (at === T) return;
    const [left, top] = corner(at);
    context.fillStyle = "rgb(24 28 36 / 0.07)"; // what is still to come
    context.fillRect(left + SCALE, top, context.canvas.width, SCALE);
    context.fillRect(0, top + SCALE, context.canvas.width, context.canvas.height);
    context.fillStyle = `rgb(${ASKS} / ${ink[at] / 255})`;
    square(context, at);
    Object.assign(context, { strokeStyle: `rgb(${ASKS})`, lineWidth: 3 });
    context.strokeRect(left - 1, top - 1, SCALE + 2, SCALE + 2);
  }

  function paintSupport(context, n) {
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.fillStyle = PALE;
    for (let i = 0; i < T; i++) if (drawings[n][i]) square(context, i);
    if (at === T) return;
    const strength = Math.min(1, (3 * shown[at]) / 255); // what is spread thin is pale
    for (let k = first[at]; k < first[at + 1]; k++) {
      if (Math.floor(where[k] / T) !== n) continue;
      context.fillStyle = `rgb(${ASKS} / ${strength * Math.sqrt(weight[k] / 255)})`;
      square(context, where[k] % T);
    }
    const of = share[at * drawings.length + n] / 255;
    if (of < 0.02) return;
    const [row, column] = mean(n);
    Object.assign(context, { strokeStyle: MEAN, lineWidth: 3, globalAlpha: 0.35 + 0.65 * of });
    context.beginPath();
    context.arc(SCALE * (column + 0.5), SCALE * (row + 0.5), 0.9 * SCALE, 0, 7);
    context.stroke();
    context.globalAlpha = 1;
  }

  // Row and column, from 0, of the mean place in drawing n.
  const mean = (n) => [0, 1].map((c) => (place[2 * (at * drawings.length + n) + c] / 255) * (scene.size[c] - 1));

  // Where it looks, in words: rows and columns from 1, as a reader counts.
  function looks() {
    const tell = (n) => mean(n).map((value) => (value + 1).toFixed(1));
    if (drawings.length === 1) return `row ${tell(0)[0]}, column ${tell(0)[1]}`;
    const parts = drawings.map((_, n) => percent(share[at * drawings.length + n] / 255));
    return `${parts.join(", ")} of it in drawing ${drawings.map((_, n) => n + 1).join(", ")}`;
  }

  function show() {
    const done = at === T;
    paintWritten(part("x").getContext("2d"));
    [...part("support").querySelectorAll("canvas")].forEach((canvas, n) => {
      paintSupport(canvas.getContext("2d"), n);
      canvas.parentElement.nextElementSibling.textContent =
        done || drawings.length === 1 ? "" : percent(share[at * drawings.length + n] / 255);
    });
    const [row, column] = [Math.floor(at / W) + 1, (at % W) + 1];
    part("asks").innerHTML = done ? "all is written" : `asks: <b>row ${row}, column ${column}</b>
      <span>p(ink) = ${(ink[at] / 255).toFixed(2)}; ${x[at] ? "ink" : "paper"} it becomes</span>`;
    const [kept, all] = done ? [0, 0] : [first[at + 1] - first[at], shown[at] / 255];
    part("looks").innerHTML = done ? "" : (drawings.length === 1 ? `looks on average at: <b>${looks()}</b>` : "") +
      `<span>${all > 0.97 ? "" : `the ${kept} heaviest places are coloured: ${percent(all)} of its attention`}</span>`;
    slide(slider, at, done ? "all is written" : `row ${row}, column ${column}, p of ink ` +
      `${(ink[at] / 255).toFixed(2)}; looks at ${looks()}`);
    part("step").textContent = `${at} of ${T}`;
    part("back").disabled = at === 0;
    part("forward").disabled = done;
  }

  // --- the clock ---

  const buttons = drive(figure, {
    speeds: RATES, again: "write again", playing: clock.running, ended: () => at >= T,
    toggle: () => (clock.running() ? settle(at) : play()), move: (by) => settle(at + by),
  });

  function settle(t) {
    clock.stop();
    at = clamp(t, 0, T);
    show();
    buttons.label();
    tell({ example, step: at });
  }

  // Blank paper is passed over at a tenth of the time that a pixel near ink takes.
  function play() {
    if (at >= T) at = 0;
    const cost = (i) => (busy[i] ? 1 : 0.1);
    let whole = 0, ahead = 0;
    for (let i = 0; i < T; i++) whole += cost(i);
    clock.start((passed) => {
      ahead += ((passed / 1000) * buttons.factor() * whole) / SECONDS;
      const before = at;
      while (at < T && ahead >= cost(at)) ahead -= cost(at++);
      if (at >= T) {
        settle(T);
        return false;
      }
      if (at !== before) show();
      return true;
    });
    buttons.label();
  }

  // --- what Python, or the page, says there is to see ---

  function choose(k) {
    example = clamp(k, 0, scenes.length - 1);
    scene = scenes[example];
    W = scene.size[1];
    T = scene.size[0] * W;
    [ink, place, share, shown] = ["ink", "place", "share", "map_shown"].map((name) => octets(scene[name]));
    x = drawingAt(octets(scene.x), 0, T);
    drawings = Array.from({ length: scene.drawings }, (_, n) => drawingAt(octets(scene.support), n, T));
    first = [0];
    for (const count of octets(scene.map_counts)) first.push(first.at(-1) + count);
    const pairs = octets(scene.map_where);
    where = Uint16Array.from({ length: pairs.length / 2 }, (_, k) => pairs[2 * k] + 256 * pairs[2 * k + 1]);
    weight = octets(scene.map_weight);
    busy = Array.from(ink, (p, i) => x[i] || p > 12);
    part("support").innerHTML = drawings.map((_, n) => `<span><span class="oneshot-sheet"><canvas role="img"
      aria-label="support drawing ${n + 1}"></canvas></span><span class="oneshot-share"></span></span>`).join("");
    part("support").style.setProperty("--columns", Math.ceil(Math.sqrt(scene.drawings)));
    for (const canvas of root.querySelectorAll("canvas")) {
      Object.assign(canvas, { width: SCALE * W, height: SCALE * scene.size[0] });
    }
    part("heading").textContent = scene.drawings > 1 ? `where it looks, ${scene.drawings} drawings` : "where it looks";
    slider.max = T;
    part("example").value = example;
    at = Math.min(at, T);
  }

  function load() {
    scenes = model.get("scenes");
    part("example").replaceChildren(...scenes.map((one, k) => new Option(one.name, k)));
    part("example").hidden = scenes.length === 1;
    turn();
  }

  function turn() {
    clock.stop();
    choose(model.get("example"));
    at = clamp(model.get("step"), 0, T);
    show();
    buttons.label();
  }

  // --- what the reader does ---

  slider.addEventListener("input", () => settle(+slider.value));
  slider.addEventListener("keydown", (event) => {
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!rows || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    settle(at + rows * W);
  });
  part("x").addEventListener("click", (event) => {
    const box = part("x").getBoundingClientRect();
    const [fx, fy] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [row, column] = [Math.floor(fy * scene.size[0]), Math.floor(fx * W)];
    settle(clamp(row, 0, scene.size[0] - 1) * W + clamp(column, 0, W - 1));
  });
  part("example").addEventListener("change", () => {
    clock.stop();
    choose(+part("example").value);
    settle(at);
  });
  load();
  hear(["example", "step"], turn);
  hear(["scenes"], load);
  atEnd(clock.stop);
  return close;
}

export default { render };

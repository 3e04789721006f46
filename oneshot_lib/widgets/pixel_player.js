// The pixel player: an image written pixel by pixel, and where each pixel looks. Live in a kernel and alone in a page:
// static_html.py. The helpers of drawings.js stand above.

const SCALE = 10; // canvas pixels a side of a pixel
const SECONDS = 20; // a whole image, most of them where there is ink
const RATES = [["1×", 1], ["½×", 0.5], ["2×", 2]];
const [DARK, PALE, ASKS, MEAN] = ["rgb(24 28 36)", "rgb(24 28 36 / 0.5)", "208 72 12", "rgb(0 84 150)"];
const SHAPES = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  again: "M8 3V.5L3.8 4 8 7.5V5a3.8 3.8 0 1 1-3.8 3.8h-2A5.8 5.8 0 1 0 8 3z",
  back: "M10.5 2.5v11L4 8z",
  forward: "M5.5 2.5v11L12 8z",
};
const shape = (name) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${SHAPES[name]}"/></svg>`;
const PIXELS = `
  <p class="oneshot-label" data-part="label"></p>
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
    <input type="range" min="0" step="1" data-part="slider" aria-label="pixels written"></div>
  <div class="oneshot-transport">
    <button type="button" class="oneshot-play" data-part="play"></button>
    <button type="button" data-part="back" aria-label="one pixel back">${shape("back")}</button>
    <button type="button" data-part="forward" aria-label="one pixel forward">${shape("forward")}</button>
    <button type="button" class="oneshot-speed" data-part="speed" title="speed"></button>
    <span class="oneshot-step" data-part="step"></span>
    <select data-part="example" aria-label="which image"></select>
  </div>`;

const within = (x, low, high) => Math.min(high, Math.max(low, x));
const percent = (x) => `${Math.round(100 * x)}\u00a0%`;

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "oneshot oneshot-player oneshot-pixels";
  root.setAttribute("role", "group");
  // JupyterLab has plans of its own for the arrow keys, unless the element that has the focus says this.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  root.innerHTML = PIXELS;
  el.append(root);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const slider = part("slider");
  let scenes, scene, ink, place, share, first, where, weight, shown, x, drawings, busy;
  let W, T, example = 0, at = 0, clock = 0, rate = 0, telling = false;

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
    slider.value = at;
    slider.style.setProperty("--done", `${(100 * at) / T}%`);
    slider.setAttribute("aria-valuetext", done ? "all is written" : `row ${row}, column ${column}, p of ink ` +
      `${(ink[at] / 255).toFixed(2)}; looks at ${looks()}`);
    part("step").textContent = `${at} of ${T}`;
    part("back").disabled = at === 0;
    part("forward").disabled = done;
  }

  // --- the clock ---

  function button() {
    const name = clock ? "pause" : at >= T ? "again" : "play";
    part("play").innerHTML = shape(name);
    part("play").title = { pause: "pause", again: "write again", play: "play" }[name];
    part("play").setAttribute("aria-label", part("play").title);
    part("speed").textContent = RATES[rate][0];
    part("speed").setAttribute("aria-label", `speed ${RATES[rate][0]}`);
  }

  function stop() {
    cancelAnimationFrame(clock);
    clock = 0;
  }

  // Both at once: a change is heard here, too, while the other is still to be told.
  function tell() {
    telling = true;
    model.set("example", example);
    model.set("step", at);
    telling = false;
    model.save_changes();
  }

  function settle(t) {
    stop();
    at = within(t, 0, T);
    show();
    button();
    tell();
  }

  // Blank paper is passed over at a tenth of the time that a pixel near ink takes.
  function play() {
    stop();
    if (at >= T) at = 0;
    const cost = (i) => (busy[i] ? 1 : 0.1);
    let whole = 0;
    for (let i = 0; i < T; i++) whole += cost(i);
    let [ahead, last] = [0, performance.now()];
    const tick = (now) => {
      ahead += (((now - last) / 1000) * RATES[rate][1] * whole) / SECONDS;
      last = now;
      const before = at;
      while (at < T && ahead >= cost(at)) ahead -= cost(at++);
      if (at >= T) return settle(T);
      if (at !== before) show();
      clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
    button();
  }

  // --- what Python, or the page, says there is to see ---

  function choose(k) {
    example = within(k, 0, scenes.length - 1);
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
    const options = scenes.map((one, k) => {
      const option = document.createElement("option");
      Object.assign(option, { value: k, textContent: one.name });
      return option;
    });
    part("example").replaceChildren(...options);
    part("example").hidden = scenes.length === 1;
    root.setAttribute("aria-label", model.get("label") || "an image written pixel by pixel");
    part("x").setAttribute("aria-label", model.get("description"));
    part("label").textContent = model.get("label") || "";
    part("label").hidden = !model.get("label");
    turn();
  }

  function turn() {
    if (telling) return;
    stop();
    choose(model.get("example"));
    at = within(model.get("step"), 0, T);
    show();
    button();
  }

  // --- what the reader does ---

  slider.addEventListener("input", () => settle(+slider.value));
  slider.addEventListener("keydown", (event) => {
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!rows || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    settle(at + rows * W);
  });
  part("play").addEventListener("click", () => (clock ? settle(at) : play()));
  part("back").addEventListener("click", () => settle(at - 1));
  part("forward").addEventListener("click", () => settle(at + 1));
  part("speed").addEventListener("click", () => {
    rate = (rate + 1) % RATES.length;
    button();
  });
  part("x").addEventListener("click", (event) => {
    const box = part("x").getBoundingClientRect();
    const [fx, fy] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [row, column] = [Math.floor(fy * scene.size[0]), Math.floor(fx * W)];
    settle(within(row, 0, scene.size[0] - 1) * W + within(column, 0, W - 1));
  });
  part("example").addEventListener("change", () => {
    stop();
    choose(+part("example").value);
    settle(at);
  });
  load();
  const leave = [stop];
  for (const [name, act] of [["change:example", turn], ["change:step", turn], ["change:scenes", load]]) {
    model.on(name, act);
    leave.push(() => model.off(name, act));
  }
  return () => leave.forEach((end) => end());
}

export default { render };

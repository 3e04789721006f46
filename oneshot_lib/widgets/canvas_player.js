// The canvas player: a drawing process, step by step. Live in a kernel and alone in a page: static_html.py.

// Ink is black at the opacity of its probability; a dark page turns the finished canvas over with a filter.
const INK = [24, 28, 36];
const FRESH = [208, 72, 12];
const SPEEDS = [["1×", 1], ["½×", 0.5], ["¼×", 0.25]];
const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  again: "M8 3V.5L3.8 4 8 7.5V5a3.8 3.8 0 1 1-3.8 3.8h-2A5.8 5.8 0 1 0 8 3z",
  back: "M10.5 2.5v11L4 8z",
  forward: "M5.5 2.5v11L12 8z",
};
const icon = (name) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
const sheet = (part, window) => `
  <div class="oneshot-sheet"><canvas data-part="${part}" role="img"></canvas>
    <svg viewBox="-1.1 -1.1 2.2 2.2" aria-hidden="true">
      <path class="oneshot-shade" data-part="${part}-shade"/>
      <polygon class="${window}" data-part="${part}-window"/>
    </svg></div>`;
const PLAYER = `
  <p class="oneshot-label" data-part="label"></p>
  <div class="oneshot-pictures">
    <figure>${sheet("canvas", "oneshot-writes")}
      <figcaption>canvas <i></i> writes</figcaption></figure>
    <figure data-part="aim">${sheet("target", "oneshot-reads")}
      <figcaption>image <span data-part="reads"><i class="oneshot-reads"></i> reads</span></figcaption>
      <p class="oneshot-total" data-part="total"><b data-part="sum"></b> nats
        <span data-part="all"></span> <span data-part="now"></span></p></figure>
  </div>
  <div class="oneshot-timeline">
    <div class="oneshot-receipts" data-part="receipts">
      <div class="oneshot-axis"><span data-part="top"></span><span>0</span></div>
      <div class="oneshot-bars" data-part="bars" aria-hidden="true"></div>
      <p class="oneshot-note" data-part="note">z set by hand: nothing was read, nothing is paid</p>
    </div>
    <div class="oneshot-track">
      <input type="range" min="0" step="1" data-part="slider" aria-label="step of the drawing"></div>
  </div>
  <div class="oneshot-transport" data-part="transport">
    <button type="button" class="oneshot-play" data-part="play"></button>
    <button type="button" data-part="back" aria-label="one step back">${icon("back")}</button>
    <button type="button" data-part="forward" aria-label="one step forward">${icon("forward")}</button>
    <button type="button" class="oneshot-speed" data-part="speed" title="speed"></button>
    <span class="oneshot-step" data-part="step"></span>
  </div>`;
const KERNEL = `
  <div class="oneshot-kernel" data-part="kernel">
    <div class="oneshot-row">
      <label>z of step <select data-part="which"></select></label>
      <button type="button" data-part="restore">undo</button>
      <button type="button" data-part="another">draw another</button>
    </div>
    <div class="oneshot-latents" data-part="latents"></div>
    <p class="oneshot-error" data-part="error" role="alert" hidden></p>
  </div>`;

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const ease = (f) => f * f * (3 - 2 * f);
const bytes = (view) => view && new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// The smallest of 1, 2, 5, 10, 20, ... that no bar exceeds.
function ceiling(x) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(x, 1e-3)));
  return unit * [1, 2, 5, 10].find((k) => k * unit >= x * 0.999);
}

// Sutherland and Hodgman: what of a window, a list of corners, lies inside the square of half-width e.
function clip(corners, e) {
  for (const [axis, sign] of [[0, 1], [0, -1], [1, 1], [1, -1]]) {
    const kept = [];
    corners.forEach((b, k) => {
      const a = corners.at(k - 1);
      const [da, db] = [e - sign * a[axis], e - sign * b[axis]];
      if (da < 0 !== db < 0) kept.push([0, 1].map((c) => a[c] + ((b[c] - a[c]) * da) / (da - db)));
      if (db >= 0) kept.push(b);
    });
    corners = kept;
  }
  return corners;
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "oneshot oneshot-player oneshot-drawing";
  root.setAttribute("role", "group");
  // JupyterLab has plans of its own for the arrow keys, unless the element that has the focus says this.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  root.innerHTML = PLAYER + (model.get("live") ? KERNEL : "");
  el.append(root);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const slider = part("slider");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let scene, frames, T, P, top, paid, bars, at, clock, speed = 0, priced = false, touched = false;

  // --- one moment of the drawing: `at` steps are done, and a fraction of the next ---

  function paint(canvas, before, from, to, f) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    for (let k = 0; k < P; k++) {
      const p = from[k] + (to[k] - from[k]) * f;
      const fresh = (1 - f) * Math.max(0, from[k] - before[k]) + Math.max(0, p - from[k]);
      const tint = Math.min(1, fresh / 72);
      for (let c = 0; c < 3; c++) picture.data[4 * k + c] = INK[c] + (FRESH[c] - INK[c]) * tint;
      picture.data[4 * k + 3] = p;
    }
    context.putImageData(picture, 0, 0);
  }

  function outline(name, windows, i, f, shaded) {
    const [polygon, shade] = [part(name + "-window"), part(name + "-shade")];
    const shown = windows && i + f > 0;
    polygon.style.opacity = shown ? (i ? 1 : f) : 0;
    shade.style.opacity = 0.6 * polygon.style.opacity;
    if (!shown) return;
    const [a, b] = [windows[Math.max(i - 1, 0)], windows[Math.min(i, T - 1)]];
    const corners = [0, 2, 4, 6].map((k) => [0, 1].map((c) => a[k + c] + (b[k + c] - a[k + c]) * f));
    const points = clip(corners, 1.06).map((p) => p.map((x) => x.toFixed(3)).join(" "));
    polygon.setAttribute("points", points.join(" "));
    if (shaded) shade.setAttribute("d", `M-1 -1H1V1H-1z${points.length ? "M" + points.join("L") + "z" : ""}`);
  }

  function show(u) {
    at = u;
    const i = Math.floor(u), n = Math.ceil(u), f = ease(u - i);
    const frame = (t) => frames.subarray(clamp(t, 0, T) * P, (clamp(t, 0, T) + 1) * P);
    paint(part("canvas"), frame(i - 1), frame(i), frame(i + 1), f);
    outline("canvas", scene.write, i, f, false);
    outline("target", scene.target && scene.read, i, f, true);
    bars.forEach((bar, k) => {
      bar.style.setProperty("--share", scene.kl ? (clamp(u - k, 0, 1) * scene.kl[k]) / top : 0);
      bar.classList.toggle("oneshot-now", k === n - 1);
    });
    slider.value = n;
    slider.style.setProperty("--done", `${(100 * n) / T}%`);
    slider.setAttribute("aria-valuetext", `step ${n} of ${T}` + (scene.kl ? `, ${paid[n].toFixed(1)} nats` : ""));
    part("step").textContent = `t = ${n} of ${T}`;
    if (scene.kl) {
      part("sum").textContent = paid[n].toFixed(1);
      part("all").textContent = `of ${paid[T].toFixed(1)} in all`;
      part("now").textContent = n ? `${scene.kl[n - 1].toFixed(2)} for this step` : "nothing paid yet";
    }
    part("back").disabled = n === 0;
    part("forward").disabled = n === T;
  }

  // --- the clock ---

  function button() {
    const name = clock ? "pause" : at >= T ? "again" : "play";
    part("play").innerHTML = icon(name);
    part("play").title = { pause: "pause", again: "draw again", play: "play" }[name];
    part("play").setAttribute("aria-label", part("play").title);
    part("speed").textContent = SPEEDS[speed][0];
    part("speed").setAttribute("aria-label", `speed ${SPEEDS[speed][0]}`);
  }

  function stop() {
    cancelAnimationFrame(clock);
    clock = 0;
  }

  function settle(t) {
    stop();
    show(clamp(t, 0, T));
    button();
    model.set("step", at);
    model.save_changes();
  }

  function play() {
    stop();
    let position = at >= T ? 0 : at;
    let last = performance.now();
    const duration = clamp(4500 / T, 50, 260);
    const tick = (now) => {
      position += ((now - last) / duration) * SPEEDS[speed][1];
      last = now;
      if (position >= T) return settle(T);
      show(calm ? Math.floor(position) : Math.max(0, position));
      clock = requestAnimationFrame(tick);
    };
    clock = requestAnimationFrame(tick);
    button();
  }

  // --- what Python, or the page, says there is to see ---

  function load() {
    scene = model.get("scene");
    frames = bytes(scene.frames);
    T = scene.steps;
    const [height, width] = scene.size;
    P = height * width;
    for (const name of ["canvas", "target"]) Object.assign(part(name), { width, height });
    if (scene.target) paint(part("target"), bytes(scene.target), bytes(scene.target), bytes(scene.target), 0);
    paid = [0];
    for (const nats of scene.kl || []) paid.push(paid.at(-1) + nats);
    top = ceiling(Math.max(...(scene.kl || [0])));
    part("top").parentNode.style.visibility = scene.kl ? "" : "hidden";
    part("top").textContent = `${+top.toPrecision(1)} nats`;
    part("bars").innerHTML = "<span></span>".repeat(T + 1);
    bars = [...part("bars").children].slice(1);
    root.style.setProperty("--columns", T + 1);
    slider.max = T;
    // Prices vanish when z is set by hand; their place stays, so that nothing jumps.
    priced ||= Boolean(scene.kl);
    part("receipts").hidden = !priced;
    part("note").hidden = Boolean(scene.kl);
    part("aim").hidden = !scene.target;
    part("total").hidden = !scene.kl;
    part(scene.target ? "aim" : "transport").append(part("total"));
    part("reads").hidden = !scene.read;
    root.toggleAttribute("data-alone", !scene.target);
    root.setAttribute("aria-label", model.get("label") || "a drawing, step by step");
    part("canvas").setAttribute("aria-label", model.get("description"));
    part("target").setAttribute("aria-label", "the image to be drawn");
    part("label").textContent = model.get("label") || "";
    part("label").hidden = !model.get("label");
  }

  function start() {
    load();
    show(calm ? T : 0);
    button();
  }

  // --- what the reader does ---

  const touch = (act) => (event) => {
    touched = true;
    act(event);
  };
  slider.addEventListener("input", touch(() => settle(+slider.value)));
  slider.addEventListener("keydown", touch((event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    clock ? settle(Math.ceil(at)) : play();
  }));
  part("play").addEventListener("click", touch(() => (clock ? settle(Math.ceil(at)) : play())));
  part("back").addEventListener("click", touch(() => settle(Math.ceil(at) - 1)));
  part("forward").addEventListener("click", touch(() => settle(Math.floor(at) + 1)));
  part("speed").addEventListener("click", touch(() => {
    speed = (speed + 1) % SPEEDS.length;
    button();
  }));
  part("bars").addEventListener("click", touch((event) => {
    const box = part("bars").getBoundingClientRect();
    settle(Math.floor(((event.clientX - box.left) / box.width) * (T + 1)));
  }));
  const print = () => settle(T);
  addEventListener("beforeprint", print);

  // It draws by itself once, when it is first seen.
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    if (!touched && !calm) play();
  }, { threshold: 0.6 });
  start();
  seen.observe(part("canvas"));
  const on = (name, act) => {
    model.on(name, act);
    return () => model.off(name, act);
  };
  const turn = () => model.get("step") !== Math.ceil(at) && settle(model.get("step"));
  const leave = [() => seen.disconnect(), stop, () => removeEventListener("beforeprint", print)];
  leave.push(on("change:step", touch(turn)));
  if (model.get("live")) leave.push(...kernel());
  return () => leave.forEach((end) => end());

  // --- with a model in the kernel: other drawings ---

  function kernel() {
    const changes = new Map();
    let answered = 0, asked = 0, wish = null, replay = false;

    // One request at a time; what is moved meanwhile is sent when the answer is here.
    function ask() {
      if (asked > answered) return;
      const request = wish || (changes.size && { latents: [...changes.values()] });
      if (!request) return;
      replay = Boolean(request.another);
      wish = null;
      changes.clear();
      root.setAttribute("aria-busy", "true");
      model.send({ ...request, request: ++asked });
    }

    function sliders() {
      const z = scene.z[part("which").value - 1];
      [...part("latents").children].forEach((label, k) => {
        const [input, output] = [label.querySelector("input"), label.querySelector("output")];
        const moving = changes.size || (scene.by_hand && document.activeElement === input);
        if (!moving) input.value = z[k];
        output.textContent = (moving ? +input.value : z[k]).toFixed(2).replace("-", "−");
        input.setAttribute("aria-label", `component ${k + 1} of z at step ${part("which").value}`);
      });
      part("restore").disabled = !scene.by_hand;
    }

    function panel() {
      const before = part("which").value || 1;
      part("which").innerHTML = scene.z.map((_, t) => `<option>${t + 1}</option>`).join("");
      part("which").value = Math.min(before, T);
      const row = (k) => `<label><span>z<sub>${k + 1}</sub></span>
        <input type="range" min="-3" max="3" step="0.05"><output></output></label>`;
      part("latents").innerHTML = scene.z[0].slice(0, 8).map((_, k) => row(k)).join("");
      part("latents").querySelectorAll("input").forEach((input, k) => {
        input.addEventListener("input", touch(() => {
          const step = +part("which").value;
          if (Math.ceil(at) < step) settle(T); // a change at this step shows from here on
          changes.set(`${step} ${k}`, [step - 1, k, +input.value]);
          sliders();
          ask();
        }));
      });
      sliders();
    }

    const say = () => {
      part("error").textContent = model.get("error");
      part("error").hidden = !model.get("error");
    };
    const want = (request) => touch(() => {
      changes.clear();
      wish = request;
      ask();
    });
    part("which").addEventListener("change", touch(sliders));
    part("another").addEventListener("click", want({ another: true }));
    part("restore").addEventListener("click", want({ restore: true }));
    panel();
    say();
    return [
      on("change:scene", () => {
        const [steps, width] = [T, scene.z[0].length];
        load();
        steps === T && width === scene.z[0].length ? sliders() : panel();
        if (replay && !calm) {
          at = 0;
          play();
        } else if (!clock) show(Math.min(at, T));
      }),
      on("change:error", say),
      on("msg:custom", (message) => {
        if (message.answered === undefined) return;
        answered = asked;
        root.removeAttribute("aria-busy");
        ask();
      }),
    ];
  }
}

export default { render };

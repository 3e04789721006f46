// The canvas player: a drawing process, step by step. Live in a kernel and alone in a page: shell.py.
import { calm, clamp, drive, INK, kernel, mount, number, octets, paintPixels, slide, ticker, transport } from "./shell.js";

const FRESH = [208, 72, 12];
const SPEEDS = [["1×", 1], ["½×", 0.5], ["¼×", 0.25]];
const sheet = (part, window) => `
  <div class="oneshot-sheet"><canvas data-part="${part}" role="img"></canvas>
    <svg viewBox="-1.1 -1.1 2.2 2.2" aria-hidden="true">
      <path class="oneshot-shade" data-part="${part}-shade"/>
      <polygon class="${window}" data-part="${part}-window"/>
    </svg></div>`;
const PLAYER = `
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
  </div>${transport("step")}`;
const KERNEL = `
  <div class="oneshot-kernel" data-part="kernel">
    <div class="oneshot-row">
      <label>z of step <select data-part="which"></select></label>
      <button type="button" data-part="restore">undo</button>
      <button type="button" data-part="another">draw another</button>
    </div>
    <div class="oneshot-latents" data-part="latents"></div>
  </div>`;

const ease = (f) => f * f * (3 - 2 * f);

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

function render(context) {
  const figure = mount(context, {
    look: "oneshot-drawing", name: "a drawing, step by step", described: "canvas",
    parts: PLAYER + (context.model.get("live") ? KERNEL : ""),
  });
  const { model, root, part, hear, tell, atEnd, close } = figure;
  const slider = part("slider"), clock = ticker(), still = calm();
  let scene, frames, T, P, top, paid, bars, at, priced = false, touched = false;

  // --- one moment of the drawing: `at` steps are done, and a fraction of the next ---

  function paint(canvas, before, from, to, f) {
    paintPixels(canvas, scene.size, (k) => {
      const p = from[k] + (to[k] - from[k]) * f;
      const fresh = (1 - f) * Math.max(0, from[k] - before[k]) + Math.max(0, p - from[k]);
      const tint = Math.min(1, fresh / 72);
      return [...INK.map((ink, c) => ink + (FRESH[c] - ink) * tint), p];
    });
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
    slide(slider, n, `step ${n} of ${T}` + (scene.kl ? `, ${paid[n].toFixed(1)} nats` : ""));
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

  const pause = () => settle(Math.ceil(at));
  const play_or_pause = () => (clock.running() ? pause() : play());
  const buttons = drive(figure, {
    speeds: SPEEDS, again: "draw again", playing: clock.running, ended: () => at >= T, toggle: play_or_pause,
    move: (by) => settle(by < 0 ? Math.ceil(at) - 1 : Math.floor(at) + 1),
  });

  function settle(t) {
    clock.stop();
    show(clamp(t, 0, T));
    buttons.label();
    tell({ step: at });
  }

  function play() {
    let position = at >= T ? 0 : at;
    const duration = clamp(4500 / T, 50, 260);
    clock.start((passed) => {
      position += (passed / duration) * buttons.factor();
      if (position >= T) {
        settle(T);
        return false;
      }
      show(still ? Math.floor(position) : Math.max(0, position));
      return true;
    });
    buttons.label();
  }

  // --- what Python, or the page, says there is to see ---

  function load() {
    scene = model.get("scene");
    frames = octets(scene.frames);
    T = scene.steps;
    P = scene.size[0] * scene.size[1];
    const target = octets(scene.target);
    paintPixels(part("target"), scene.size, (k) => [...INK, target ? target[k] : 0]);
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
    part("target").setAttribute("aria-label", "the image to be drawn");
  }

  function start() {
    load();
    show(still ? T : 0);
    buttons.label();
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
    play_or_pause();
  }));
  part("transport").addEventListener("click", touch(() => {}));
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
    if (!touched && !still) play();
  }, { threshold: 0.6 });
  start();
  seen.observe(part("canvas"));
  hear(["step"], touch(() => model.get("step") !== Math.ceil(at) && settle(model.get("step"))));
  atEnd(() => seen.disconnect());
  atEnd(clock.stop);
  atEnd(() => removeEventListener("beforeprint", print));
  if (model.get("live")) ask();
  return close;

  // --- with a model in the kernel: other drawings ---

  function ask() {
    const changes = new Map();
    let wish = null, replay = false;
    const send = kernel(figure, next);

    // One request at a time; what is moved meanwhile is sent when the answer is here.
    function next() {
      const request = wish || (changes.size && { latents: [...changes.values()] });
      if (!request || !send(request)) return;
      replay = Boolean(request.another);
      wish = null;
      changes.clear();
    }

    function sliders() {
      const z = scene.z[part("which").value - 1];
      [...part("latents").children].forEach((label, k) => {
        const [input, output] = [label.querySelector("input"), label.querySelector("output")];
        const moving = changes.size || (scene.by_hand && document.activeElement === input);
        if (!moving) input.value = z[k];
        output.textContent = number(moving ? +input.value : z[k]);
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
          next();
        }));
      });
      sliders();
    }

    const want = (request) => touch(() => {
      changes.clear();
      wish = request;
      next();
    });
    part("which").addEventListener("change", touch(sliders));
    part("another").addEventListener("click", want({ another: true }));
    part("restore").addEventListener("click", want({ restore: true }));
    panel();
    hear(["scene"], () => {
      const [steps, width] = [T, scene.z[0].length];
      load();
      steps === T && width === scene.z[0].length ? sliders() : panel();
      if (replay && !still) {
        at = 0;
        play();
      } else if (!clock.running()) show(Math.min(at, T));
    });
  }
}

export default { render };

// The window explorer: drag a window over a drawing, see the patch, the write, and what pulls the window. All of it is
// computed here, by the formulas of oneshot_lib.attention. Live in a kernel and alone in a page: shell.py.
import { calm, clamp, colours, INK, inkPicture, mount, octets, paintPixels, radios, sharp, slide, ticker } from "./shell.js";

const PATCH = 12;
const VIEW = 1.25; // how far the picture shows beyond the paper's edge at 1
const PLACE = ["x", "y", "half_width", "half_height", "angle", "shear", "variance"];
const degrees = 180 / Math.PI;
const same = (value) => value;
// min, max and step are the slider's own; `of` and `to` are its value of the number, and the number of its value.
const SLIDERS = {
  x: { text: "centre x", min: -1.2, max: 1.2, step: 0.02, digits: 2, unit: "" },
  y: { text: "centre y", min: -1.2, max: 1.2, step: 0.02, digits: 2, unit: "" },
  half_width: { text: "half-width", min: 0.1, max: 1.2, step: 0.02, digits: 2, unit: "" },
  half_height: { text: "half-height", min: 0.1, max: 1.2, step: 0.02, digits: 2, unit: "" },
  angle: { text: "angle", min: -180, max: 180, step: 3, digits: 0, unit: "°", of: (v) => v * degrees, to: (v) => v / degrees },
  shear: { text: "shear", min: -1, max: 1, step: 0.02, digits: 2, unit: "" },
  variance: { text: "variance", min: -1, max: 2, step: 0.05, digits: 2, unit: " px²", of: Math.log10, to: (v) => 10 ** v },
};
const VARIETIES = {
  translation: "translation", "translation-scale": "translation and scale", "axis-aligned": "axis-aligned",
  similarity: "similarity", rotated: "rotated", affine: "affine", gaussian: "Gaussian filterbank",
};
const EXPLORER = `
  <div class="oneshot-choice">
    <div class="oneshot-shown" data-part="shown" role="radiogroup" aria-label="drawing"></div>
    <label><span>variety</span> <select data-part="variety" aria-label="variety of attention"></select></label>
  </div>
  <div class="oneshot-panels">
    <figure><canvas class="oneshot-where" data-part="where" role="img"></canvas>
      <figcaption><i class="oneshot-reads"></i>window: drag it, its corner, its knob
        <span><i class="oneshot-pulls"></i>the pull</span></figcaption></figure>
    <div class="oneshot-seen">
      <figure><span class="oneshot-sheet"><canvas data-part="patch" role="img"></canvas></span>
        <figcaption>read, <var>r</var> = <var>Wx</var></figcaption></figure>
      <figure><span class="oneshot-sheet"><canvas data-part="written" role="img"></canvas></span>
        <figcaption>written, <var>W</var><sup>⊤</sup><var>r</var></figcaption></figure>
    </div>
  </div>
  <div class="oneshot-says" data-part="says">
    <p>ink seen, <var>E</var> = ½‖<var>r</var>‖² <b data-part="ink"></b></p>
    <p>pull on the centre <b data-part="centre"></b></p>
    <button type="button" data-part="go">let go</button>
  </div>
  <p class="oneshot-versus">here, <span data-part="versus"></span></p>
  <div class="oneshot-tuning" data-part="tuning"><span class="oneshot-head" title="the slope of E; of widths and variance in their logarithm">pull, ∂<var>E</var></span></div>`;

// --- reading: one kernel row with its slopes in the position and in the width, or in the variance ---

function tent(position, width, pixels) {
  const b = 1 / width, row = { k: [], dp: [], dw: [] };
  for (let n = 0; n < pixels; n++) {
    const off = position - n, far = Math.abs(off), k = b - b * b * far, inside = k > 1e-9;
    row.k.push(inside ? k : 0);
    row.dp.push(inside && far > 1e-9 ? -b * b * Math.sign(off) : 0); // neither its tip nor its foot has a slope
    row.dw.push(inside ? 2 * b * b * b * far - b * b : 0);
  }
  return row;
}

function bell(position, variance, pixels) {
  const off = Array.from({ length: pixels }, (_, n) => n - position);
  const raw = off.map((d) => Math.exp((-d * d) / (2 * variance)));
  const sum = raw.reduce((a, b) => a + b, 0), total = Math.max(sum, 1e-8);
  const k = raw.map((value) => value / total), whole = sum >= 1e-8 ? 1 : 0;
  const mean = whole * off.reduce((a, d, n) => a + d * k[n], 0);
  const square = whole * off.reduce((a, d, n) => a + d * d * k[n], 0);
  return {
    k,
    dp: k.map((value, n) => (value * (off[n] - mean)) / variance),
    dw: k.map((value, n) => (value * (off[n] ** 2 - square)) / (2 * variance * variance)),
  };
}

// The window's two sides, as vectors from its centre, and how they move with each number that is asked for.
function sides({ half_width, half_height, angle, shear }, asked, size) {
  const own = asked.includes("half_width"), fixed = PATCH / size;
  const w = own ? half_width : fixed, h = asked.includes("half_height") ? half_height : w;
  const [c, s] = asked.includes("angle") ? [Math.cos(angle), Math.sin(angle)] : [1, 0];
  const k = asked.includes("shear") ? shear : 0;
  const u = [w * c, w * s], v = [h * (k * c - s), h * (k * s + c)];
  const tied = own && !asked.includes("half_height");
  return {
    u, v,
    moves: {
      half_width: [u, tied ? v : [0, 0]],
      half_height: [[0, 0], v],
      angle: [[-u[1], u[0]], [-v[1], v[0]]],
      shear: [[0, 0], [h * c, h * s]],
    },
  };
}

// What the window sees of the image, what it writes back, E, and the gradient of E in every number that is asked for.
function glance(image, size, place, asked) {
  const { u, v, moves } = sides(place, asked, size), gaussian = asked.includes("variance");
  const spacing = [0, 1].map((a) => (size / PATCH) * Math.hypot(u[a], v[a]));
  const wide = spacing.map((s) => (gaussian ? place.variance : Math.max(1, s)));
  const patch = new Float64Array(PATCH * PATCH), written = new Float64Array(size * size);
  const slope = { centre: [0, 0], u: [0, 0], v: [0, 0], wide: [0, 0] };
  for (let p = 0; p < patch.length; p++) {
    const px = (2 * (p % PATCH) + 1) / PATCH - 1, py = (2 * Math.floor(p / PATCH) + 1) / PATCH - 1;
    const at = [place.x, place.y].map((c, a) => ((c + u[a] * px + v[a] * py + 1) * size) / 2 - 0.5);
    const [X, Y] = at.map((position, a) => (gaussian ? bell : tent)(position, wide[a], size));
    let r = 0;
    const d = { px: 0, py: 0, wx: 0, wy: 0 };
    for (let i = 0; i < size; i++) {
      if (!Y.k[i] && !Y.dp[i] && !Y.dw[i]) continue;
      let [k, dp, dw] = [0, 0, 0];
      for (let j = 0, row = i * size; j < size; j++) {
        const value = image[row + j];
        if (!value) continue;
        k += X.k[j] * value;
        dp += X.dp[j] * value;
        dw += X.dw[j] * value;
      }
      r += Y.k[i] * k;
      d.px += Y.k[i] * dp;
      d.wx += Y.k[i] * dw;
      d.py += Y.dp[i] * k;
      d.wy += Y.dw[i] * k;
    }
    patch[p] = r;
    if (!r) continue;
    [d.px, d.py].forEach((step, a) => {
      const pull = (r * step * size) / 2;
      slope.centre[a] += pull;
      slope.u[a] += pull * px;
      slope.v[a] += pull * py;
    });
    slope.wide[0] += r * d.wx;
    slope.wide[1] += r * d.wy;
    for (let i = 0; i < size; i++) {
      if (!Y.k[i]) continue;
      for (let j = 0; j < size; j++) written[i * size + j] += r * Y.k[i] * X.k[j];
    }
  }
  const pull = { x: slope.centre[0], y: slope.centre[1] };
  if (gaussian) pull.variance = place.variance * (slope.wide[0] + slope.wide[1]);
  for (const a of [0, 1]) { // a tent grows with the spacing, once that is more than a pixel
    if (gaussian || spacing[a] < 1) continue;
    const grow = (slope.wide[a] * (size / PATCH) ** 2) / spacing[a];
    slope.u[a] += grow * u[a];
    slope.v[a] += grow * v[a];
  }
  for (const name of asked.filter((one) => moves[one])) {
    const [du, dv] = moves[name];
    pull[name] = slope.u[0] * du[0] + slope.u[1] * du[1] + slope.v[0] * dv[0] + slope.v[1] * dv[1];
  }
  return { patch, written, ink: patch.reduce((sum, r) => sum + (r * r) / 2, 0), pull };
}

// --- words ---

const channels = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)); // of "#rrggbb"
const minus = (text) => text.replace(/-/g, "−");
const raised = (power) => minus(String(power)).replace(/[−0-9]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["−0123456789".indexOf(c)]);

function said(value) { // "0", "12.3", "1.2·10⁻³⁰"
  const size = Math.abs(value);
  if (!size) return "0";
  if (size >= 0.01 && size < 1000) return minus(value.toFixed(size < 10 ? 3 : 1));
  const [digits, power] = value.toExponential(1).split("e");
  return minus(digits) + "·10" + raised(+power);
}

const plainly = (value) => (value ? said(value) : "0, exactly");

function render(context) {
  const { model, root, part, hear, tell: save, follow, atEnd, close } = mount(context, {
    look: "oneshot-window", name: "a window over a drawing", parts: EXPLORER,
  });
  const scene = model.get("scene"), size = scene.size, levels = octets(scene.ink);
  const place = {}, clock = ticker();
  let image, drawing, variety, asked, seen, mark, held = null;

  const imageOf = (k) => Float64Array.from(levels.subarray(k * size * size, (k + 1) * size * size), (v) => v / 255);

  // --- pictures ---

  // Ink of the page's own colour, or a given one, as dark as its share of `top`.
  function paint(canvas, values, side, top, tone = channels(colours(root)("text"))) {
    return paintPixels(canvas, [side, side], (k) => [...tone, top ? (255 * values[k]) / top : 0]);
  }

  function handles() { // of the corner and of the knob, in image coordinates, where there are any
    const { u, v } = sides(place, asked, size), long = Math.hypot(...v);
    const knob = v.map((one) => -one * (1 + 0.2 / long));
    const at = (vector) => [place.x + vector[0], place.y + vector[1]];
    return {
      u, v,
      scale: asked.includes("half_width") ? at([u[0] + v[0], u[1] + v[1]]) : null,
      turn: asked.includes("angle") ? at(knob) : null,
      top: at([-v[0], -v[1]]),
      corners: [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => at([a * u[0] + b * v[0], a * u[1] + b * v[1]])),
    };
  }

  function arrow(context, tone, from, pull) { // the longer the stronger, on a logarithmic scale
    const force = Math.hypot(...pull);
    Object.assign(context, { strokeStyle: tone, fillStyle: tone, lineWidth: 3, lineCap: "round" });
    context.beginPath();
    if (!force) { // nothing pulls
      context.arc(...from, 5, 0, 7);
      context.lineWidth = 2;
      return context.stroke();
    }
    const long = clamp(50 + 13 * Math.log10(force), 20, 90), [dx, dy] = pull.map((one) => one / force);
    const to = [from[0] + long * dx, from[1] + long * dy], back = [to[0] - 11 * dx, to[1] - 11 * dy];
    context.moveTo(...from);
    context.lineTo(...back);
    context.stroke();
    context.beginPath();
    context.moveTo(...to);
    context.lineTo(back[0] - 6 * dy, back[1] + 6 * dx);
    context.lineTo(back[0] + 6 * dy, back[1] - 6 * dx);
    context.fill();
  }

  function drawWhere() {
    const drawn = sharp(part("where"), root);
    if (!drawn) return;
    const { context, width, colour } = drawn;
    const to = ([x, y]) => [((x / VIEW + 1) * width) / 2, ((y / VIEW + 1) * width) / 2];
    const [left, side] = [to([-1, -1])[0], width / VIEW];
    context.fillStyle = colour("paper");
    context.fillRect(left, left, side, side);
    context.imageSmoothingEnabled = false;
    context.drawImage(paint(document.createElement("canvas"), image, size, 1), left, left, side, side);
    Object.assign(context, { strokeStyle: colour("line"), lineWidth: 1 });
    context.strokeRect(left, left, side, side);

    const { u, v, scale, turn, top, corners } = handles(), tone = colour("read");
    Object.assign(context, { strokeStyle: tone, fillStyle: tone, lineWidth: 2, lineJoin: "round" });
    for (let p = 0; p < PATCH * PATCH; p++) { // where the points of the patch look
      const px = (2 * (p % PATCH) + 1) / PATCH - 1, py = (2 * Math.floor(p / PATCH) + 1) / PATCH - 1;
      const [x, y] = to([place.x + u[0] * px + v[0] * py, place.y + u[1] * px + v[1] * py]);
      context.fillRect(x - 1, y - 1, 2, 2);
    }
    context.beginPath();
    for (const corner of corners) context.lineTo(...to(corner));
    context.closePath();
    context.globalAlpha = 0.08;
    context.fill();
    context.globalAlpha = 1;
    context.stroke();
    if (turn) {
      context.beginPath();
      context.moveTo(...to(top));
      context.lineTo(...to(turn));
      context.stroke();
      context.beginPath();
      context.arc(...to(turn), 6, 0, 7);
      context.fill();
    }
    if (scale) context.fillRect(...to(scale).map((one) => one - 6), 12, 12);
    arrow(context, colour("write"), to([place.x, place.y]), [seen.pull.x, seen.pull.y]);
  }

  // --- one state of the figure ---

  function show() {
    seen = glance(image, size, place, asked);
    drawWhere();
    for (const [name, side] of [["patch", PATCH], ["written", size]]) {
      const top = Math.max(...seen[name]);
      paint(part(name), seen[name], side, top);
      const what = name === "patch" ? "the patch that is read" : "the patch written back";
      part(name).setAttribute("aria-label", `${what}; the most ink in a pixel is ${top.toFixed(2)}`);
    }
    const force = Math.hypot(seen.pull.x, seen.pull.y);
    part("ink").textContent = said(seen.ink);
    part("centre").textContent = plainly(force);
    part("centre").toggleAttribute("data-none", !force);
    part("where").setAttribute("aria-label", `${scene.names[drawing]} with the window; pull on the centre ` +
      (force ? `${said(seen.pull.x)} to the right, ${said(seen.pull.y)} downwards` : "exactly zero"));
    const gaussian = variety === "gaussian";
    const other = glance(image, size, place, scene.numbers[gaussian ? "translation-scale" : "gaussian"]).pull;
    const [tents, bells] = gaussian ? [other, seen.pull] : [seen.pull, other];
    const pulled = (pull) => `<b>${plainly(Math.hypot(pull.x, pull.y))}</b>`;
    part("versus").innerHTML = `tents pull with ${pulled(tents)}, Gaussians of variance ${place.variance.toFixed(1)} with ${pulled(bells)}`;
    for (const [name, { of = same, digits, unit }] of Object.entries(SLIDERS)) {
      part(`${name}-row`).hidden = !asked.includes(name);
      const value = of(place[name]), shown = minus((name === "variance" ? place[name] : value).toFixed(digits)) + unit;
      const pull = asked.includes(name) ? said(seen.pull[name]) : "";
      slide(part(name), value, pull ? `${shown}, pull ${pull}` : shown);
      part(`${name}-now`).textContent = shown;
      part(`${name}-pull`).textContent = pull;
    }
    part("variety").value = variety;
    mark(drawing);
  }

  function load() {
    [drawing, variety] = [model.get("drawing"), model.get("variety")];
    [image, asked] = [imageOf(drawing), scene.numbers[variety]];
    for (const name of PLACE) place[name] = model.get(name);
    show();
  }

  const tell = () => save({ ...place, drawing, variety });

  function turn() {
    stop();
    load();
  }

  // --- letting go: the centre follows its pull ---

  function stop() {
    clock.stop();
    part("go").textContent = "let go";
  }

  function climb(most) { // one step up E, of nearly `most`: as Adam does, who divides by the size of the pull, and 1e-8
    const force = Math.hypot(seen.pull.x, seen.pull.y), share = most / (force + 1e-8);
    place.x = clamp(place.x + share * seen.pull.x, -1.2, 1.2);
    place.y = clamp(place.y + share * seen.pull.y, -1.2, 1.2);
    show();
    return share * force;
  }

  part("go").addEventListener("click", () => {
    if (clock.running()) return stop(), tell();
    let most = 0.03;
    const moves = () => climb((most *= 0.98)) > 2e-4;
    part("go").textContent = "stop";
    clock.start(() => {
      let on = moves();
      while (calm() && on) on = moves();
      if (on) return true;
      stop();
      tell();
      return false;
    });
  });

  // --- the mouse ---

  const where = (event) => {
    const box = part("where").getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top].map((one) => (2 * one / box.width - 1) * VIEW);
  };

  function hit(at) {
    const { u, v, scale, turn } = handles(), reach = (14 * 2 * VIEW) / part("where").clientWidth;
    const near = (point) => point && Math.hypot(at[0] - point[0], at[1] - point[1]) < reach;
    if (near(scale)) return "scale";
    if (near(turn)) return "turn";
    const [a, b] = inside([at[0] - place.x, at[1] - place.y], u, v);
    return Math.max(Math.abs(a), Math.abs(b)) <= 1 || near([place.x, place.y]) ? "move" : null;
  }

  function inside([x, y], u, v) { // in units of the window's own sides
    const area = u[0] * v[1] - u[1] * v[0];
    return [(x * v[1] - y * v[0]) / area, (u[0] * y - u[1] * x) / area];
  }

  const drags = {
    move: (at, from) => [place.x, place.y] = [0, 1].map((a) => clamp(at[a] - from[a], -1.2, 1.2)),
    scale: (at) => {
      const { u, v } = handles(), off = [at[0] - place.x, at[1] - place.y], [a, b] = inside(off, u, v);
      const { min, max } = SLIDERS.half_width;
      if (asked.includes("half_height")) {
        place.half_width = clamp(Math.abs(a) * place.half_width, min, max);
        place.half_height = clamp(Math.abs(b) * place.half_height, min, max);
      } else {
        place.half_width = clamp(Math.hypot(...off) / Math.SQRT2, min, max);
      }
    },
    turn: (at) => {
      const bent = asked.includes("shear") ? Math.atan(place.shear) : 0; // a sheared knob leans
      const angle = Math.atan2(at[1] - place.y, at[0] - place.x) + Math.PI / 2 + bent;
      place.angle = Math.atan2(Math.sin(angle), Math.cos(angle));
    },
  };

  const canvas = part("where");
  canvas.addEventListener("pointerdown", (event) => {
    const at = where(event), what = hit(at);
    if (!what) return;
    stop();
    held = { what, from: [at[0] - place.x, at[1] - place.y] };
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = where(event);
    if (!held) return canvas.style.setProperty("cursor", { move: "move", scale: "nwse-resize", turn: "grab" }[hit(at)] || "");
    drags[held.what](at, held.from);
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (!held) return;
      held = null;
      tell();
    });
  }

  // --- the keyboard, and what is built once ---

  for (const [name, { text, min, max, step, to = same }] of Object.entries(SLIDERS)) {
    part("tuning").insertAdjacentHTML("beforeend", `<label data-part="${name}-row"><span>${text}</span>
      <input type="range" min="${min}" max="${max}" step="${step}" data-part="${name}" aria-label="${text}">
      <output data-part="${name}-now"></output><output class="oneshot-pull" data-part="${name}-pull"></output></label>`);
    part(name).addEventListener("input", () => {
      stop();
      place[name] = to(+part(name).value);
      show();
      tell();
    });
  }
  part("variety").innerHTML = Object.keys(scene.numbers).map((name) => `<option value="${name}">${VARIETIES[name]}</option>`).join("");
  part("variety").addEventListener("change", () => {
    stop();
    variety = part("variety").value;
    asked = scene.numbers[variety];
    show();
    tell();
  });
  const choose = (k) => {
    stop();
    drawing = k;
    image = imageOf(k);
    show();
    tell();
  };
  part("shown").hidden = scene.names.length < 2;
  const small = (k) => inkPicture(paint(document.createElement("canvas"), imageOf(k), size, 1, INK));
  mark = radios(part("shown"), scene.names, small, choose);
  load();

  follow(canvas, show);
  hear([...PLACE, "drawing", "variety"], turn);
  atEnd(stop);
  return close;
}

export default { render };

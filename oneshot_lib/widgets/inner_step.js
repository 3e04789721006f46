// The inner step: step size and number of steps as sliders; drawings of the same noise before and after, and what the
// steps do to the learned loss and to the NLL. Live in a kernel and alone in a page: static_html.py. The helpers of
// drawings.js stand above.

const INNER = `
  <p class="oneshot-label" data-part="label"></p>
  <div class="oneshot-shown" data-part="shown" role="radiogroup" aria-label="drawings shown to the model"></div>
  <div class="oneshot-sliders">
    <label><span>step size</span><input type="range" min="0" step="1" data-part="rate" aria-label="step size">
      <output data-part="rate-now"></output></label>
    <label><span>steps</span><input type="range" min="0" step="1" data-part="steps" aria-label="number of steps">
      <output data-part="steps-now"></output></label>
  </div>
  <p class="oneshot-says" data-part="says" aria-live="polite"></p>
  <div class="oneshot-halves">
    <figure><figcaption>drawn after the steps</figcaption>
      <div class="oneshot-drawn" data-part="after"></div>
      <figcaption>drawn before, from the same noise</figcaption>
      <div class="oneshot-drawn oneshot-before" data-part="before"></div>
      <button type="button" data-part="another" hidden>draw another</button></figure>
    <figure><figcaption>the learned loss <var>g</var>, its change</figcaption>
      <canvas class="oneshot-curve" data-part="losses" role="img"></canvas>
      <figcaption>NLL of the character’s other drawings, nats</figcaption>
      <canvas class="oneshot-curve" data-part="nll" role="img"></canvas></figure>
  </div>
  <p class="oneshot-error" data-part="error" role="alert" hidden></p>`;

const signed = (value, digits) => (value === null ? "∞" : value.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1"));

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "oneshot oneshot-player oneshot-inner";
  root.setAttribute("role", "group");
  // JupyterLab has plans of its own for the keys, unless the element that has the focus says this.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  root.innerHTML = INNER;
  el.append(root);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const others = new Map(); // drawings that a kernel has made since
  let scene, before, made, pixels, radios, character = 0, place = 0, steps = 0, telling = false;

  const value = (name, r = place, t = steps) => scene[name][character][r][t];

  // --- the curves: over the step size, for the number of steps that is chosen; the others faintly ---

  function plot(name, colour, least) {
    const canvas = part(name), [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    const scale = Math.max(devicePixelRatio || 1, 1);
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const context = canvas.getContext("2d"), style = getComputedStyle(root);
    const paint = (what) => style.getPropertyValue(`--oneshot-${what}`).trim();
    context.scale(scale, scale);
    context.font = `12px ${style.fontFamily}`;
    const [left, right, top, floor] = [46, width - 12, 8, height - 22];
    const last = scene.rates[scene.rates.length - 1];
    const across = (r) => left + (scene.rates[r] / last) * (right - left);
    // What the axis has to hold: all of the way down for so many steps, and as much of the way up.
    const start = value(name, 0, 0), chosen = Math.max(steps, 1);
    const all = scene.rates.map((_, r) => value(name, r, chosen)).filter((one) => one !== null);
    const drop = Math.max(start - Math.min(...all), least);
    const rise = Math.min(Math.max(...all) - start, drop);
    const [low, high] = [start - 1.15 * drop, start + Math.max(1.15 * rise, 0.3 * drop)];
    const down = (v) => top + ((high - v) / (high - low)) * (floor - top);
    const line = (points, stroke, thick, dash = []) => {
      context.beginPath();
      points.forEach((point) => context.lineTo(...point));
      context.setLineDash(dash);
      Object.assign(context, { strokeStyle: stroke, lineWidth: thick });
      context.stroke();
      context.setLineDash([]);
    };
    context.fillStyle = paint("muted");
    context.textAlign = "right";
    for (const v of [start, start - drop]) context.fillText(signed(v, drop < 1 ? 2 : drop < 10 ? 1 : 0), left - 5, down(v) + 4);
    context.textAlign = "center";
    scene.rates.forEach((rate, r) => Number.isInteger(rate) && context.fillText(rate ? `${rate}α` : "0", across(r), height - 5));
    line([[left, floor], [right, floor]], paint("line"), 1);
    line([[left, down(start)], [right, down(start)]], paint("line"), 1, [3, 3]);
    context.save();
    context.beginPath();
    context.rect(left - 6, 0, width, floor);
    context.clip();
    const curve = (t) => {
      const points = scene.rates.map((_, r) => [across(r), value(name, r, t)]);
      const end = points.findIndex((point) => point[1] === null);
      return (end < 0 ? points : points.slice(0, end)).map(([x, v]) => [x, Math.max(down(v), -50)]);
    };
    context.globalAlpha = 0.22;
    for (let t = 1; t <= scene.most_steps; t++) if (t !== steps) line(curve(t), paint(colour), 1.5);
    context.globalAlpha = 1;
    line(curve(steps), paint(colour), 2.5);
    context.restore();
    const here = value(name);
    const y = here === null ? top : Math.min(Math.max(down(here), top - 3), floor);
    line([[across(place), floor], [across(place), y]], paint("muted"), 1, [3, 3]);
    context.beginPath();
    if (here === null || down(here) < top - 3) { // beyond the top
      for (const [dx, dy] of [[0, 0], [6, 9], [-6, 9]]) context.lineTo(across(place) + dx, 2 + dy);
      context.closePath();
    } else context.arc(across(place), y, 5, 0, 7);
    context.fillStyle = paint(colour);
    context.fill();
  }

  function curves() {
    plot("losses", "write", 0.05);
    plot("nll", "read", 2);
  }

  // --- one setting ---

  function drawings(name, packed, first) {
    [...part(name).querySelectorAll("canvas")].forEach((canvas, s) => {
      paintDrawing(canvas, drawingAt(packed, first + s, pixels), scene.size);
    });
  }

  function show() {
    const rate = scene.rates[place], fresh = others.get(`${character} ${place} ${steps}`);
    const at = ((character * scene.rates.length + place) * (scene.most_steps + 1) + steps) * scene.samples;
    drawings("after", fresh ? fresh.after : made, fresh ? 0 : at);
    drawings("before", fresh ? fresh.before : before, 0);
    radios.forEach((radio, k) => {
      radio.setAttribute("aria-checked", k === character);
      radio.tabIndex = k === character ? 0 : -1;
    });
    const [start, nll, change] = [value("nll", 0, 0), value("nll"), value("losses")];
    const set = (name, now, most, text) => {
      part(name).value = now;
      part(name).style.setProperty("--done", `${(100 * now) / most}%`);
      part(name).setAttribute("aria-valuetext", text);
    };
    const size = `${rate} times the trained one`;
    set("rate", place, scene.rates.length - 1, size);
    set("steps", steps, scene.most_steps, `${steps} step${steps === 1 ? "" : "s"}`);
    part("rate-now").textContent = rate === 1 ? "α, as trained" : rate ? `${rate} α` : "0";
    part("steps-now").textContent = steps;
    part("says").innerHTML = `<span>learned loss <b>${change > 0 ? "+" : ""}${signed(change, 2)}</b></span>
      <span>NLL <b>${signed(start, 1)} → ${signed(nll, 1)} nats</b></span>`;
    const of = `${steps} steps of ${size}`;
    part("losses").setAttribute("aria-label", `the learned loss over the step size; after ${of} it has changed by ${signed(change, 2)}`);
    part("nll").setAttribute("aria-label", `NLL of other drawings over the step size; after ${of} it is ${signed(nll, 1)} nats, before ${signed(start, 1)}`);
    curves();
  }

  // --- what Python, or the page, says there is to see ---

  function picture(packed, k) { // a drawing that does not change
    const canvas = document.createElement("canvas");
    paintDrawing(canvas, drawingAt(packed, k, pixels), scene.size);
    return canvas.toDataURL();
  }

  function load() {
    scene = model.get("scene");
    [before, made] = [octets(scene.before), octets(scene.made)];
    pixels = scene.size[0] * scene.size[1];
    // dark-light: the site's theme has a filter of its own for pictures on dark pages, and leaves this class alone
    const support = octets(scene.support), times = (n, row) => Array.from({ length: n }, (_, k) => row(k)).join("");
    part("shown").innerHTML = times(scene.names.length, (k) => `<button type="button" role="radio">
      ${times(scene.drawings, (n) => `<span class="oneshot-sheet"><img class="dark-light" alt="" src="${picture(support, k * scene.drawings + n)}"></span>`)}</button>`);
    radios = [...part("shown").children];
    radios.forEach((radio, k) => {
      radio.setAttribute("aria-label", scene.names[k]);
      radio.title = scene.names[k];
      radio.addEventListener("click", () => choose(k));
      radio.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!move) return;
        event.preventDefault();
        choose((k + move + radios.length) % radios.length);
        radios[character].focus();
      });
    });
    part("after").innerHTML = times(scene.samples, (k) => inkSheet(`drawing ${k + 1}, after the steps`));
    part("before").innerHTML = times(scene.samples, (k) => inkSheet(`drawing ${k + 1}, before`));
    part("shown").style.setProperty("--side", scene.drawings === 1 ? "60px" : "40px");
    part("rate").max = scene.rates.length - 1;
    part("steps").max = scene.most_steps;
    root.setAttribute("aria-label", model.get("label") || "steps on the learned loss");
    root.setAttribute("aria-description", model.get("description"));
    part("label").textContent = model.get("label") || "";
    part("label").hidden = !model.get("label");
    turn();
  }

  function turn() {
    if (telling) return;
    [character, steps, place] = [model.get("character"), model.get("steps"), scene.rates.indexOf(model.get("rate"))];
    show();
  }

  // All at once: a change is heard here, too, while the others are still to be told.
  function tell() {
    show();
    telling = true;
    model.set("character", character);
    model.set("rate", scene.rates[place]);
    model.set("steps", steps);
    telling = false;
    model.save_changes();
  }

  // --- what the reader does ---

  function choose(k) {
    character = k;
    tell();
  }

  part("rate").addEventListener("input", () => {
    place = +part("rate").value;
    tell();
  });
  part("steps").addEventListener("input", () => {
    steps = +part("steps").value;
    tell();
  });
  load();

  // The curves follow the page: its width, and whether it is light or dark.
  const sized = new ResizeObserver(curves);
  sized.observe(part("nll"));
  const themed = new MutationObserver(curves);
  for (const node of [document.documentElement, document.body]) themed.observe(node, { attributes: true });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", curves);
  const leave = [() => sized.disconnect(), () => themed.disconnect(), () => dark.removeEventListener("change", curves)];
  const on = (name, act) => {
    model.on(name, act);
    leave.push(() => model.off(name, act));
  };
  for (const name of ["character", "rate", "steps"]) on(`change:${name}`, turn);
  if (model.get("live")) kernel();
  return () => leave.forEach((end) => end());

  // --- with a model in the kernel: other drawings at the same setting ---

  function kernel() {
    let asked = 0;
    part("another").hidden = false;
    part("another").addEventListener("click", () => {
      if (root.hasAttribute("aria-busy")) return;
      root.setAttribute("aria-busy", "true");
      model.send({ another: true, request: ++asked });
    });
    on("change:fresh", () => {
      const fresh = model.get("fresh"), [old, after] = [octets(fresh.before), octets(fresh.after)];
      others.set(`${fresh.character} ${scene.rates.indexOf(fresh.rate)} ${fresh.steps}`, { before: old, after });
      show();
    });
    on("change:error", () => {
      part("error").textContent = model.get("error");
      part("error").hidden = !model.get("error");
    });
    on("msg:custom", (message) => message.answered !== undefined && root.removeAttribute("aria-busy"));
  }
}

export default { render };

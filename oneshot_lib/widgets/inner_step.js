// The inner step: step size and number of steps as sliders; drawings of the same noise before and after, and what the
// steps do to the learned loss and to the NLL. Live in a kernel and alone in a page: shell.py.
import {
  drawingAt, inkPicture, inkSheet, kernel, mount, number, octets, paintDrawing, radios, sharp, slide, times,
} from "./shell.js";

const INNER = `
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
  </div>`;

const signed = (value, digits) => (value === null ? "∞" : number(value, digits));

function render(context) {
  const figure = mount(context, { look: "oneshot-inner", name: "steps on the learned loss", parts: INNER });
  const { model, root, part, hear, tell: save, follow, close } = figure;
  const others = new Map(); // drawings that a kernel has made since
  let scene, before, made, pixels, mark, character = 0, place = 0, steps = 0;

  const value = (name, r = place, t = steps) => scene[name][character][r][t];

  // --- the curves: over the step size, for the number of steps that is chosen; the others faintly ---

  function plot(name, colour, least) {
    const drawn = sharp(part(name), root);
    if (!drawn) return;
    const { context, width, height, colour: paint, line } = drawn;
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
    mark(character);
    const [start, nll, change] = [value("nll", 0, 0), value("nll"), value("losses")];
    const size = `${rate} times the trained one`;
    slide(part("rate"), place, size);
    slide(part("steps"), steps, `${steps} step${steps === 1 ? "" : "s"}`);
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

  const support = (k) => paintDrawing(document.createElement("canvas"), drawingAt(octets(scene.support), k, pixels), scene.size);

  function load() {
    scene = model.get("scene");
    [before, made] = [octets(scene.before), octets(scene.made)];
    pixels = scene.size[0] * scene.size[1];
    const shown = (k) => times(scene.drawings, (n) => inkPicture(support(k * scene.drawings + n)));
    mark = radios(part("shown"), scene.names, shown, choose);
    part("after").innerHTML = times(scene.samples, (k) => inkSheet(`drawing ${k + 1}, after the steps`));
    part("before").innerHTML = times(scene.samples, (k) => inkSheet(`drawing ${k + 1}, before`));
    part("shown").style.setProperty("--side", scene.drawings === 1 ? "60px" : "40px");
    part("rate").max = scene.rates.length - 1;
    part("steps").max = scene.most_steps;
    turn();
  }

  function turn() {
    [character, steps, place] = [model.get("character"), model.get("steps"), scene.rates.indexOf(model.get("rate"))];
    show();
  }

  function tell() {
    show();
    save({ character, rate: scene.rates[place], steps });
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

  follow(part("nll"), curves);
  hear(["character", "rate", "steps"], turn);
  if (model.get("live")) drawAnother();
  return close;

  // --- with a model in the kernel: other drawings at the same setting ---

  function drawAnother() {
    const ask = kernel(figure);
    part("another").hidden = false;
    part("another").addEventListener("click", () => ask({ another: true }));
    hear(["fresh"], () => {
      const fresh = model.get("fresh"), [old, after] = [octets(fresh.before), octets(fresh.after)];
      others.set(`${fresh.character} ${scene.rates.indexOf(fresh.rate)} ${fresh.steps}`, { before: old, after });
      show();
    });
  }
}

export default { render };

// The support picker: which drawings are shown to the model, and what it makes of them. Live in a kernel and alone in a
// page: shell.py.
import {
  drawingAt, icon, inkSheet, kernel, mount, number, octets, paintDrawing, paintPixels, slide, times,
} from "./shell.js";

const PICKER = `
  <div class="oneshot-choose">
    <label><span data-part="name"></span>
      <input type="range" min="1" step="1" data-part="character" aria-label="which character"></label>
  </div>
  <div class="oneshot-support" data-part="support" role="group" aria-label="drawings shown to the model"></div>
  <p class="oneshot-says" data-part="says" aria-live="polite"></p>
  <div class="oneshot-halves">
    <figure><figcaption><span>mean of <var>q</var>(<var>c</var>; <var>D</var>), channel by channel</span>
        <span><i class="oneshot-plus"></i> above zero</span> <span><i class="oneshot-minus"></i> below</span></figcaption>
      <div class="oneshot-latent" data-part="latent" role="img"></div></figure>
    <figure><figcaption><span>new drawings,</span> <span><var>c</var> ~ <var>q</var>(<var>c</var>;
      <var>D</var>)</span></figcaption>
      <div class="oneshot-made" data-part="made"></div>
      <button type="button" data-part="another" hidden>draw another</button></figure>
  </div>`;

function render(context) {
  const figure = mount(context, {
    look: "oneshot-picker", name: "choose the drawings that the model is shown", parts: PICKER, described: "support",
  });
  const { model, part, hear, tell: save, close } = figure;
  const slider = part("character");
  const others = new Map(); // drawings that a kernel has made since
  let scene, support, made, latents, pixels, boxes, character = 0, chosen = [];

  const choice = () => chosen.reduce((sum, j) => sum + 2 ** j, 0) - 1;

  // --- the picture of one choice ---

  function paintLatent(canvas, channel) {
    paintPixels(canvas, scene.size, (i) => {
      // The encoder averages before its one linear layer, so the mean of q is the average over the drawings.
      let level = 0;
      for (const j of chosen) level += latents[((character * scene.drawings + j) * scene.channels + channel) * pixels + i];
      level /= chosen.length;
      return [...(level > 0 ? [213, 94, 0] : [0, 114, 178]), Math.min(255, 2 * Math.abs(level))];
    });
  }

  function show() {
    const [size, k] = [chosen.length, choice()];
    slide(slider, character + 1, scene.names[character]);
    part("name").textContent = scene.names[character];
    boxes.forEach((box, j) => {
      const on = chosen.includes(j);
      box.setAttribute("aria-checked", on);
      box.setAttribute("aria-disabled", on && size === 1);
      box.title = on ? (size === 1 ? "the last one stays" : "take it away") : "show it to the model, too";
      paintDrawing(box.querySelector("canvas"), drawingAt(support, character * scene.drawings + j, pixels), scene.size);
    });
    const which = chosen.map((j) => j + 1).join(", ");
    const price = scene.prices[character][k];
    part("says").innerHTML = `<b>|<var>D</var>| = ${size}</b> <span>drawing${size > 1 ? "s" : ""} ${which}</span>
      <span>price of <var>c</var>: <b>${number(price, 0)} nats</b></span>`;
    [...part("latent").querySelectorAll("canvas")].forEach(paintLatent);
    part("latent").setAttribute("aria-label", `the class latent in ${scene.channels} channels, from drawing ${which}`);
    const [rows, at] = [others.get(`${character} ${k}`), (character * scene.prices[0].length + k) * scene.samples];
    [...part("made").querySelectorAll("canvas")].forEach((canvas, s) => {
      paintDrawing(canvas, rows ? drawingAt(rows, s, pixels) : drawingAt(made, at + s, pixels), scene.size);
    });
  }

  // --- what Python, or the page, says there is to see ---

  function load() {
    scene = model.get("scene");
    [support, made] = [octets(scene.support), octets(scene.made)];
    const levels = octets(scene.latents);
    latents = new Int8Array(levels.buffer, levels.byteOffset, levels.byteLength);
    pixels = scene.size[0] * scene.size[1];
    part("support").innerHTML = times(scene.drawings, (k) => `<button type="button" role="checkbox"
      aria-label="drawing ${k + 1}">${inkSheet()}<span class="oneshot-tick">${icon("check")}</span>${k + 1}</button>`);
    part("latent").innerHTML = times(scene.channels, () => inkSheet());
    part("made").innerHTML = times(scene.samples, (k) => inkSheet(`new drawing ${k + 1}`));
    boxes = [...part("support").children];
    boxes.forEach((box, j) => {
      box.addEventListener("click", () => toggle(j));
    });
    part("made").style.setProperty("--columns", Math.ceil(Math.sqrt(scene.samples)));
    slider.max = scene.characters;
    slider.hidden = scene.characters === 1;
    turn();
  }

  function turn() {
    [character, chosen] = [model.get("character"), [...model.get("chosen")]];
    show();
  }

  function tell() {
    show();
    save({ character, chosen: [...chosen] });
  }

  // --- what the reader does ---

  function toggle(j) {
    if (!chosen.includes(j)) chosen = [...chosen, j].sort();
    else if (chosen.length > 1) chosen = chosen.filter((one) => one !== j);
    else return;
    tell();
  }

  slider.addEventListener("input", () => {
    character = +slider.value - 1;
    tell();
  });
  load();
  hear(["character", "chosen"], turn);
  if (model.get("live")) drawAnother();
  return close;

  // --- with a model in the kernel: other drawings of the same choice ---

  function drawAnother() {
    const ask = kernel(figure);
    part("another").hidden = false;
    part("another").addEventListener("click", () => ask({ another: true }));
    hear(["fresh"], () => {
      const fresh = model.get("fresh");
      others.set(`${fresh.character} ${fresh.choice}`, octets(fresh.made));
      show();
    });
  }
}

export default { render };

// The support picker: which drawings are shown to the model, and what it makes of them. Live in a kernel and alone in a
// page: static_html.py. The helpers of drawings.js stand above.

const PICKER = `
  <p class="oneshot-label" data-part="label"></p>
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
  </div>
  <p class="oneshot-error" data-part="error" role="alert" hidden></p>`;
const CHECK = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M6.3 13 1.6 8.2l1.7-1.7 3 3.1 6.4-6.7 1.7 1.7z"/></svg>';

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "oneshot oneshot-player oneshot-picker";
  root.setAttribute("role", "group");
  // JupyterLab has plans of its own for the keys, unless the element that has the focus says this.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  root.innerHTML = PICKER;
  el.append(root);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const slider = part("character");
  const others = new Map(); // drawings that a kernel has made since
  let scene, support, made, latents, pixels, boxes, character = 0, chosen = [], telling = false;

  const number = () => chosen.reduce((sum, j) => sum + 2 ** j, 0) - 1;

  // --- the picture of one choice ---

  function paintLatent(canvas, channel) {
    const [height, width] = scene.size;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    for (let i = 0; i < pixels; i++) {
      // The encoder averages before its one linear layer, so the mean of q is the average over the drawings.
      let level = 0;
      for (const j of chosen) level += latents[((character * scene.drawings + j) * scene.channels + channel) * pixels + i];
      level /= chosen.length;
      picture.data.set(level > 0 ? [213, 94, 0] : [0, 114, 178], 4 * i);
      picture.data[4 * i + 3] = Math.min(255, 2 * Math.abs(level));
    }
    context.putImageData(picture, 0, 0);
  }

  function show() {
    const [size, k] = [chosen.length, number()];
    slider.value = character + 1;
    const span = scene.characters - 1;
    slider.style.setProperty("--done", `${span ? (100 * character) / span : 100}%`);
    slider.setAttribute("aria-valuetext", scene.names[character]);
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
      <span>price of <var>c</var>: <b>${price.toFixed(0).replace("-", "−")} nats</b></span>`;
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
    const times = (n, row) => Array.from({ length: n }, (_, k) => row(k + 1)).join("");
    part("support").innerHTML = times(scene.drawings, (k) => `<button type="button" role="checkbox"
      aria-label="drawing ${k}">${inkSheet()}<span class="oneshot-tick">${CHECK}</span>${k}</button>`);
    part("latent").innerHTML = times(scene.channels, () => inkSheet());
    part("made").innerHTML = times(scene.samples, (k) => inkSheet(`new drawing ${k}`));
    boxes = [...part("support").children];
    boxes.forEach((box, j) => {
      box.addEventListener("click", () => toggle(j));
    });
    part("made").style.setProperty("--columns", Math.ceil(Math.sqrt(scene.samples)));
    Object.assign(slider, { max: scene.characters });
    slider.hidden = scene.characters === 1;
    root.setAttribute("aria-label", model.get("label") || "choose the drawings that the model is shown");
    part("support").setAttribute("aria-description", model.get("description"));
    part("label").textContent = model.get("label") || "";
    part("label").hidden = !model.get("label");
    turn();
  }

  function turn() {
    if (telling) return;
    [character, chosen] = [model.get("character"), [...model.get("chosen")]];
    show();
  }

  // Both at once: a change is heard here, too, while the other is still to be told.
  function tell() {
    show();
    telling = true;
    model.set("character", character);
    model.set("chosen", [...chosen]);
    telling = false;
    model.save_changes();
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
  const leave = [];
  const on = (name, act) => {
    model.on(name, act);
    leave.push(() => model.off(name, act));
  };
  on("change:character", turn);
  on("change:chosen", turn);
  if (model.get("live")) kernel();
  return () => leave.forEach((end) => end());

  // --- with a model in the kernel: other drawings of the same choice ---

  function kernel() {
    let asked = 0;
    part("another").hidden = false;
    part("another").addEventListener("click", () => {
      if (root.hasAttribute("aria-busy")) return;
      root.setAttribute("aria-busy", "true");
      model.send({ another: true, request: ++asked });
    });
    on("change:fresh", () => {
      const fresh = model.get("fresh");
      others.set(`${fresh.character} ${fresh.choice}`, octets(fresh.made));
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

// The set bound: |D| and |X| as sliders, the gap as an area. Every number is a formula of the slope a, the noise s and
// the two sizes, averaged over all classes that the model makes. Live in a kernel and alone in a page: static_html.py.

const SIZES = { support_size: "|D|", set_size: "|X|" };
const OTHERS = ["vhe", "neural-statistician", "resample", "rescale"];
const NAMES = { vhe: "VHE", "neural-statistician": "Neural St.", resample: "resample", rescale: "rescale" };
const EXPLORER = `
  <p class="oneshot-label" data-part="label"></p>
  <div class="oneshot-panels">
    <div class="oneshot-panel">
      <p class="oneshot-key"><span><i class="oneshot-ceiling"></i>log <var>p</var>(<var>X</var>) / |<var>X</var>|</span>
        <span><i class="oneshot-gap-key"></i>gap</span>
        <span><i class="oneshot-q"></i>VHE bound</span></p>
      <canvas data-part="areas" role="img"></canvas>
    </div>
    <div class="oneshot-panel">
      <p class="oneshot-key">the four objectives, here</p>
      <canvas data-part="four" role="img"></canvas>
    </div>
  </div>
  <div class="oneshot-tuning">
    <label><span>|<var>D</var>|, looked at</span><input type="range" data-part="support_size" aria-label="size of the support D">
      <output data-part="support_size-now"></output></label>
    <label><span>|<var>X</var>|, explained</span><input type="range" data-part="set_size" aria-label="size of the class X">
      <output data-part="set_size-now"></output></label>
  </div>
  <table class="oneshot-sums"><tbody>
    <tr><th>log <var>p</var>(<var>X</var>) / |<var>X</var>|</th><td data-part="ceiling"></td><td>nats an element</td></tr>
    <tr class="oneshot-gap"><th>gap</th><td data-part="gap"></td>
      <td>KL(<var>q</var>(<var>c</var>;<var>D</var>) ‖ <var>p</var>(<var>c</var>|<var>X</var>))
        <b data-part="lost"></b>, over |<var>X</var>|</td></tr>
    <tr class="oneshot-f"><th>VHE bound</th><td data-part="bound"></td>
      <td>E<sub><var>q</var></sub> log <var>p</var>(<var>x</var>|<var>c</var>) <b data-part="log_likelihood"></b>,
        less the price KL(<var>q</var>(<var>c</var>;<var>D</var>) ‖ <var>p</var>(<var>c</var>)) <b data-part="price"></b>
        over |<var>X</var>|, <b data-part="share"></b></td></tr>
  </tbody></table>`;

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const text = (v, digits = 2) => v.toFixed(digits).replace("-", "−").replace(/^−(0\.0+)$/, "$1");

// As `ConjugateGaussian` of models/conjugate.py, on the model's own moments, with q(c; D) = p(c | D).
function levelsOf({ slope: a, noise: s, support_size: N, set_size: n }) {
  const ratio = (a * a) / (s * s);
  const base = Math.log(2 * Math.PI * s * s);
  const posterior = (size) => ({ weight: (size * a) / (s * s) / (1 + size * ratio), variance: 1 / (1 + size * ratio) });
  const evidence = (size) =>
    -0.5 * (base + Math.log(1 + size * ratio) / size + 1); // the quadratic form of n numbers is n on average
  const [square, spread] = [a * a + (s * s) / n, s * s * (1 - 1 / n)];
  const wander = (spread * (n - N)) / (N * Math.max(n - 1, 1));
  const [q, exact] = [posterior(N), posterior(n)];
  const left = 1 - a * q.weight;
  const price = 0.5 * (q.variance + q.weight ** 2 * (square + wander) - 1 - Math.log(q.variance));
  const likelihood = (error) => -0.5 * (base + (error + left ** 2 * square + a * a * q.variance) / (s * s));
  const ofClass = likelihood(spread + (a * q.weight) ** 2 * wander);
  const ofSupport = likelihood(spread - wander + left ** 2 * wander);
  const shift = (q.weight - exact.weight) ** 2 * square + q.weight ** 2 * wander;
  const narrow = q.variance / exact.variance;
  const lost = 0.5 * (narrow + shift / exact.variance - 1 - Math.log(narrow));
  return {
    ceiling: evidence(n), of_supports: evidence(N), log_likelihood: ofClass, price, share: price / n, lost, gap: lost / n,
    bound: ofClass - price / n, vhe: ofClass - price / n, "neural-statistician": ofSupport - price / N,
    resample: ofClass - price / N, rescale: ofSupport - price / n,
  };
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "oneshot oneshot-player oneshot-bound oneshot-set";
  root.setAttribute("role", "group");
  root.innerHTML = EXPLORER;
  el.append(root);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const sizes = { support_size: 1, set_size: 1 };
  let telling = false, view = [-1, 0];

  const at = (support_size, set_size) =>
    levelsOf({ slope: model.get("slope"), noise: model.get("noise"), support_size, set_size });
  const most = () => model.get("most");

  // What the vertical axis has to hold, wherever the sliders are. What lies deeper (resample only) is marked as deeper.
  function measure() {
    const corners = [at(1, 1), at(1, most()), at(most(), most())];
    const low = Math.min(...corners.map((levels) => levels.bound));
    const high = Math.max(...corners.map((levels) => Math.max(levels.ceiling, levels.rescale)));
    view = [low - 0.35 * (high - low), high + 0.14 * (high - low)];
  }

  // A canvas as sharp as the screen, in CSS pixels, and the colours of the page as it is now.
  function sheet(name) {
    const canvas = part(name);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return null;
    const scale = Math.max(devicePixelRatio || 1, 1);
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(root);
    const colour = (what) => style.getPropertyValue(`--oneshot-${what}`).trim();
    context.font = `12px ${style.fontFamily}`;
    const floor = height - 22;
    const down = (nats) => ((view[1] - nats) / (view[1] - view[0])) * floor;
    return { context, width, height, floor, colour, down };
  }

  function path(context, points, stroke, width, dash = []) {
    context.beginPath();
    for (const point of points) context.lineTo(...point);
    context.setLineDash(dash);
    Object.assign(context, { strokeStyle: stroke, lineWidth: width });
    context.stroke();
    context.setLineDash([]);
  }

  function drawAreas({ ceiling, bound, gap }) {
    const drawn = sheet("areas");
    if (!drawn) return;
    const { context, width, height, floor, colour, down } = drawn;
    const left = 34, right = width - 10;
    const across = (n) => left + ((n - 1) / (most() - 1)) * (right - left);
    const [N, n] = [sizes.support_size, sizes.set_size];
    const range = Array.from({ length: most() }, (_, k) => k + 1);
    const above = range.map((k) => [across(k), down(at(k, k).ceiling)]);
    const below = range.slice(N - 1).map((k) => [across(k), down(at(N, k).bound)]);
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    for (let nats = Math.ceil(view[0] * 2) / 2; nats < view[1]; nats += 0.5) {
      context.fillText(text(nats, 1), left - 6, down(nats) + 4);
    }
    context.textAlign = "center";
    for (const k of [1, ...range.filter((k) => k % 10 === 0)]) context.fillText(text(k, 0), across(k), height - 5);
    context.beginPath();
    for (const point of [...above.slice(N - 1), ...below.slice().reverse()]) context.lineTo(...point);
    context.closePath();
    context.globalAlpha = 0.2;
    context.fillStyle = colour("write");
    context.fill();
    context.globalAlpha = 1;
    path(context, [[left, floor], [right, floor]], colour("line"), 1);
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    context.fillText("|X|", right - 7, floor - 7);
    path(context, [[across(n), floor], [across(n), down(bound)]], colour("muted"), 1, [3, 3]);
    path(context, above, colour("text"), 2);
    path(context, below, colour("read"), 2);
    path(context, [[across(n), down(ceiling)], [across(n), down(bound)]], colour("write"), 4);
    for (const [nats, what] of [[ceiling, "text"], [bound, "read"]]) {
      context.beginPath();
      context.arc(across(n), down(nats), 4.5, 0, 7);
      context.fillStyle = colour(what);
      context.fill();
    }
    context.fillStyle = colour("write");
    const near = across(n) < width - 90;
    context.textAlign = near ? "left" : "right";
    const middle = gap < 0.12 ? down(bound) + 22 : (down(ceiling) + down(bound)) / 2 + 4;
    context.fillText(`gap ${text(gap)}`, across(n) + (near ? 9 : -9), middle);
  }

  function drawFour(levels) {
    const drawn = sheet("four");
    if (!drawn) return;
    const { context, width, height, floor, colour, down } = drawn;
    const column = width / 4, bar = Math.min(34, column - 14);
    context.textAlign = "center";
    OTHERS.forEach((name, i) => {
      const middle = column * (i + 0.5), top = Math.min(down(levels[name]), floor);
      context.globalAlpha = name === "vhe" ? 1 : 0.4;
      context.fillStyle = colour(name === "vhe" ? "read" : "muted");
      context.fillRect(middle - bar / 2, top, bar, floor - top);
      context.globalAlpha = 1;
      context.fillStyle = colour(name === "vhe" ? "read" : "text");
      const over = Math.abs(top - down(levels.ceiling)) < 18 && top > down(levels.ceiling);
      const deeper = down(levels[name]) > floor ? " ↓" : "";
      context.fillText(text(levels[name]) + deeper, middle, over ? down(levels.ceiling) - 6 : top - 6);
      context.fillStyle = colour("muted");
      context.fillText(NAMES[name], middle, height - 5, column - 4);
    });
    const ceiling = down(levels.ceiling), own = down(levels.of_supports);
    path(context, [[0, ceiling], [width, ceiling]], colour("text"), 2);
    path(context, [[column + 2, own], [2 * column - 2, own]], colour("text"), 2, [3, 2]);
  }

  function show() {
    const levels = at(sizes.support_size, sizes.set_size);
    drawAreas(levels);
    drawFour(levels);
    for (const name of ["ceiling", "gap", "lost", "bound", "log_likelihood", "price", "share"]) {
      part(name).textContent = text(levels[name], name === "share" ? 3 : 2);
    }
    for (const name of Object.keys(SIZES)) {
      const max = name === "support_size" ? sizes.set_size : most();
      Object.assign(part(name), { min: 1, max, step: 1 });
      part(name).value = sizes[name];
      part(name).style.setProperty("--done", `${max > 1 ? (100 * (sizes[name] - 1)) / (max - 1) : 100}%`);
      part(name).setAttribute("aria-valuetext", `${sizes[name]} elements, gap ${levels.gap.toFixed(2)} nats`);
      part(`${name}-now`).textContent = sizes[name];
    }
    const four = OTHERS.map((name) => `${name} ${levels[name].toFixed(2)}`).join(", ");
    part("four").setAttribute("aria-label", `log p(X) over |X| ${levels.ceiling.toFixed(2)}; ${four}`);
  }

  // Both at once: a change is heard here, too, while the other is still to be told.
  function tell() {
    telling = true;
    for (const name of Object.keys(SIZES)) model.set(name, sizes[name]);
    telling = false;
    model.save_changes();
  }

  for (const name of Object.keys(SIZES)) {
    part(name).addEventListener("input", () => {
      sizes[name] = clamp(Math.round(+part(name).value), 1, most());
      sizes.support_size = Math.min(sizes.support_size, sizes.set_size);
      show();
      tell();
    });
  }
  // JupyterLab would take the arrow keys of a slider, unless the slider says no.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));

  function load() {
    for (const name of Object.keys(SIZES)) sizes[name] = clamp(model.get(name), 1, most());
    sizes.support_size = Math.min(sizes.support_size, sizes.set_size);
    measure();
    show();
  }
  root.setAttribute("aria-label", model.get("label") || "the bound of a class and its gap");
  part("label").textContent = model.get("label") || "";
  part("label").hidden = !model.get("label");
  part("areas").setAttribute("aria-label", model.get("description"));
  load();

  // The pictures follow the page: its width, and whether it is light or dark.
  const sized = new ResizeObserver(show);
  sized.observe(part("areas"));
  const themed = new MutationObserver(show);
  for (const node of [document.documentElement, document.body]) themed.observe(node, { attributes: true });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", show);
  const turn = () => !telling && Object.keys(SIZES).some((name) => model.get(name) !== sizes[name]) && load();
  for (const name of Object.keys(SIZES)) model.on(`change:${name}`, turn);
  return () => {
    sized.disconnect();
    themed.disconnect();
    dark.removeEventListener("change", show);
    for (const name of Object.keys(SIZES)) model.off(`change:${name}`, turn);
  };
}

export default { render };

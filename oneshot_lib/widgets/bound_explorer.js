// The bound explorer: every number is a formula of x, a, s and the two sliders. Live in a kernel and alone in
// a page: static_html.py.

const RANGES = { mean: [-3, 3, 0.02], log_sigma: [-2, 1, 0.01] };
const VIEW = [-3.5, 3.5]; // of z
const DEPTH = 6; // nats under log p(x) that the levels show
const EXPLORER = `
  <p class="oneshot-label" data-part="label"></p>
  <div class="oneshot-panels">
    <div class="oneshot-panel">
      <p class="oneshot-key"><span><i class="oneshot-prior"></i><var>p</var>(<var>z</var>)</span>
        <span><i class="oneshot-posterior"></i><var>p</var>(<var>z</var>|<var>x</var>)</span>
        <span><i class="oneshot-q"></i><var>q</var>(<var>z</var>)</span></p>
      <canvas data-part="densities" role="img"></canvas>
    </div>
    <div class="oneshot-panel oneshot-levels">
      <p class="oneshot-key">nats</p>
      <canvas data-part="levels" role="img"></canvas>
    </div>
  </div>
  <div class="oneshot-tuning">
    <label><span>mean <var>μ</var></span><input type="range" data-part="mean" aria-label="mean of q">
      <output data-part="mean-now"></output></label>
    <label><span>log <var>σ</var></span><input type="range" data-part="log_sigma" aria-label="log sigma of q">
      <output data-part="log_sigma-now"></output></label>
    <button type="button" data-part="climb" title="gradient ascent of F on both sliders">climb</button>
  </div>
  <table class="oneshot-sums"><tbody>
    <tr><th>log <var>p</var>(<var>x</var>)</th><td data-part="log_px"></td><td></td></tr>
    <tr class="oneshot-gap"><th>gap</th><td data-part="gap"></td>
      <td>KL(<var>q</var> ‖ <var>p</var>(<var>z</var>|<var>x</var>)), what is lost</td></tr>
    <tr class="oneshot-f"><th>bound <var>F</var></th><td data-part="bound"></td>
      <td>E<sub><var>q</var></sub> log <var>p</var>(<var>x</var>|<var>z</var>) <b data-part="log_likelihood"></b>,
        less KL(<var>q</var> ‖ <var>p</var>(<var>z</var>)) <b data-part="price"></b>, what is paid</td></tr>
  </tbody></table>`;

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const text = (v, digits = 2) => v.toFixed(digits).replace("-", "−").replace(/^−(0\.0+)$/, "$1");
const density = (z, mean, sigma) => Math.exp(-0.5 * ((z - mean) / sigma) ** 2) / (sigma * Math.sqrt(2 * Math.PI));

function divergence(mean, sigma, toMean, toSigma) {
  const ratio = (sigma / toSigma) ** 2;
  return 0.5 * (ratio + ((mean - toMean) / toSigma) ** 2 - 1 - Math.log(ratio));
}

// As `levels` of bound_explorer.py.
function levelsOf({ x, a, s, mean, sigma }) {
  const total = a * a + s * s;
  const [m, t] = [(a * x) / total, s / Math.sqrt(total)];
  const log_px = -0.5 * ((x * x) / total + Math.log(2 * Math.PI * total));
  const error = (x - a * mean) ** 2 + (a * sigma) ** 2;
  const log_likelihood = -0.5 * (error / (s * s) + Math.log(2 * Math.PI * s * s));
  const price = divergence(mean, sigma, 0, 1);
  return { m, t, log_px, log_likelihood, price, bound: log_likelihood - price, gap: divergence(mean, sigma, m, t) };
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "oneshot oneshot-player oneshot-bound";
  root.setAttribute("role", "group");
  root.innerHTML = EXPLORER;
  el.append(root);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const q = { mean: 0, log_sigma: 0 };
  let clock = 0, telling = false;

  const now = () => ({ x: model.get("x"), a: model.get("a"), s: model.get("s"), mean: q.mean, sigma: Math.exp(q.log_sigma) });

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
    return { context, width, height, colour };
  }

  function drawDensities(numbers, { m, t }) {
    const drawn = sheet("densities");
    if (!drawn) return;
    const { context, width, height, colour } = drawn;
    const base = height - 20;
    const peak = 1.12 * Math.max(density(0, 0, t), density(0, 0, numbers.sigma), density(0, 0, 1));
    const across = (z) => ((z - VIEW[0]) / (VIEW[1] - VIEW[0])) * width;
    const curve = (mean, sigma, stroke, fill, dash = []) => {
      context.beginPath();
      for (let px = 0; px <= width; px++) {
        const z = VIEW[0] + (px / width) * (VIEW[1] - VIEW[0]);
        context.lineTo(px, base - (density(z, mean, sigma) / peak) * base);
      }
      context.setLineDash(dash);
      context.lineWidth = 2;
      context.strokeStyle = stroke;
      context.stroke();
      context.setLineDash([]);
      if (!fill) return;
      context.lineTo(width, base);
      context.lineTo(0, base);
      context.globalAlpha = 0.16;
      context.fillStyle = stroke;
      context.fill();
      context.globalAlpha = 1;
    };
    curve(0, 1, colour("muted"), false, [5, 4]);
    curve(numbers.mean, numbers.sigma, colour("read"), true);
    curve(m, t, colour("write"), false);
    context.strokeStyle = colour("muted");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, base + 0.5);
    context.lineTo(width, base + 0.5);
    context.stroke();
    context.fillStyle = colour("muted");
    context.textAlign = "center";
    for (let z = -3; z <= 3; z++) context.fillText(text(z, 0), across(z), height - 4);
  }

  function drawLevels({ log_px, bound, gap }) {
    const drawn = sheet("levels");
    if (!drawn) return;
    const { context, width, height, colour } = drawn;
    const down = (nats) => 26 + ((log_px - nats) / DEPTH) * (height - 34);
    const [left, bar] = [34, clamp(width - 104, 30, 64)];
    const [top, level] = [down(log_px), Math.min(down(bound), height)];
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    for (let nats = Math.ceil(log_px - DEPTH); nats <= log_px - 0.4; nats++) {
      context.fillText(text(nats, 0), left - 8, down(nats) + 4);
    }
    context.fillStyle = colour("read");
    context.fillRect(left, level, bar, height - level);
    context.globalAlpha = 0.22;
    context.fillStyle = colour("write");
    context.fillRect(left, top, bar, level - top);
    context.globalAlpha = 1;
    context.fillStyle = colour("text");
    context.fillRect(left - 4, top - 1, width - left, 2);
    context.textAlign = "left";
    context.fillText("log p(x)", left - 4, top - 8);
    const middle = clamp((top + level) / 2 + 4, top + 15, height - 22);
    context.fillStyle = colour("write");
    context.fillText("gap = KL", left + bar + 8, middle - 1);
    context.fillText(`${text(gap)} nats`, left + bar + 8, middle + 14);
    if (level > height - 4) context.fillText("↓", left + bar / 2 - 5, height - 6);
  }

  function show() {
    const numbers = now();
    const levels = levelsOf(numbers);
    drawDensities(numbers, levels);
    drawLevels(levels);
    for (const name of ["log_px", "bound", "log_likelihood", "price", "gap"]) part(name).textContent = text(levels[name]);
    for (const name of Object.keys(RANGES)) {
      const [low, high] = RANGES[name];
      part(name).value = q[name];
      part(name).style.setProperty("--done", `${(100 * (q[name] - low)) / (high - low)}%`);
      part(name).setAttribute("aria-valuetext", `${q[name].toFixed(2)}, gap ${levels.gap.toFixed(2)} nats`);
      part(`${name}-now`).textContent = text(q[name]);
    }
    part("levels").setAttribute("aria-label", `log p(x) ${levels.log_px.toFixed(2)}, bound ${levels.bound.toFixed(2)}`);
  }

  // Both at once: a change is heard here, too, while the other is still to be told.
  function tell() {
    telling = true;
    for (const name of Object.keys(RANGES)) model.set(name, q[name]);
    telling = false;
    model.save_changes();
  }

  function stop() {
    cancelAnimationFrame(clock);
    clock = 0;
    part("climb").textContent = "climb";
  }

  // dF/dmean = (m - mean) / t^2 and dF/dlog sigma = 1 - sigma^2 / t^2, in small steps.
  function ascend() {
    const numbers = now();
    const { m, t } = levelsOf(numbers);
    const step = (gradient) => clamp(0.15 * t * t * gradient, -0.05, 0.05);
    const move = [step((m - numbers.mean) / (t * t)), step(1 - (numbers.sigma / t) ** 2)];
    q.mean = clamp(q.mean + move[0], ...RANGES.mean);
    q.log_sigma = clamp(q.log_sigma + move[1], ...RANGES.log_sigma);
    return Math.abs(move[0]) + Math.abs(move[1]) > 2e-4;
  }

  function climb() {
    if (clock) {
      stop();
      return tell();
    }
    if (calm) {
      for (let k = 0; k < 2000 && ascend(); k++);
      show();
      return tell();
    }
    part("climb").textContent = "stop";
    const tick = () => {
      const moving = ascend();
      show();
      if (moving) clock = requestAnimationFrame(tick);
      else {
        stop();
        tell();
      }
    };
    clock = requestAnimationFrame(tick);
  }

  for (const [name, [min, max, step]] of Object.entries(RANGES)) {
    Object.assign(part(name), { min, max, step });
    part(name).addEventListener("input", () => {
      stop();
      q[name] = +part(name).value;
      show();
      tell();
    });
  }
  part("climb").addEventListener("click", climb);
  // JupyterLab would take the arrow keys of a slider, unless the slider says no.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));

  function load() {
    for (const name of Object.keys(RANGES)) q[name] = model.get(name);
    show();
  }
  root.setAttribute("aria-label", model.get("label") || "the bound and its gap");
  part("label").textContent = model.get("label") || "";
  part("label").hidden = !model.get("label");
  part("densities").setAttribute("aria-label", model.get("description"));
  load();

  // The pictures follow the page: its width, and whether it is light or dark.
  const sized = new ResizeObserver(show);
  sized.observe(part("densities"));
  const themed = new MutationObserver(show);
  for (const node of [document.documentElement, document.body]) themed.observe(node, { attributes: true });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", show);
  const turn = () => !clock && !telling && (model.get("mean") !== q.mean || model.get("log_sigma") !== q.log_sigma) && load();
  for (const name of Object.keys(RANGES)) model.on(`change:${name}`, turn);
  return () => {
    stop();
    sized.disconnect();
    themed.disconnect();
    dark.removeEventListener("change", show);
    for (const name of Object.keys(RANGES)) model.off(`change:${name}`, turn);
  };
}

export default { render };

// The bound explorer: every number is a formula of x, a, s and the two sliders. Live in a kernel and alone in a page:
// shell.py.
import { calm, clamp, mount, number, sharp, slide, ticker } from "./shell.js";

const RANGES = { mean: [-3, 3, 0.02], log_sigma: [-2, 1, 0.01] };
const VIEW = [-3.5, 3.5]; // of z
const DEPTH = 6; // nats under log p(x) that the levels show
const EXPLORER = `
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

function render(context) {
  const { model, root, part, hear, tell, follow, atEnd, close } = mount(context, {
    look: "oneshot-bound", name: "the bound and its gap", parts: EXPLORER, described: "densities",
  });
  const q = { mean: 0, log_sigma: 0 }, clock = ticker();

  const now = () => ({ x: model.get("x"), a: model.get("a"), s: model.get("s"), mean: q.mean, sigma: Math.exp(q.log_sigma) });

  function drawDensities(numbers, { m, t }) {
    const drawn = sharp(part("densities"), root);
    if (!drawn) return;
    const { context, width, height, colour, line } = drawn;
    const base = height - 20;
    const peak = 1.12 * Math.max(density(0, 0, t), density(0, 0, numbers.sigma), density(0, 0, 1));
    const across = (z) => ((z - VIEW[0]) / (VIEW[1] - VIEW[0])) * width;
    const curve = (mean, sigma, stroke, fill, dash = []) => {
      const height_at = (px) => (density(VIEW[0] + (px / width) * (VIEW[1] - VIEW[0]), mean, sigma) / peak) * base;
      line(Array.from({ length: Math.floor(width) + 1 }, (_, px) => [px, base - height_at(px)]), stroke, 2, dash);
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
    line([[0, base + 0.5], [width, base + 0.5]], colour("muted"));
    context.fillStyle = colour("muted");
    context.textAlign = "center";
    for (let z = -3; z <= 3; z++) context.fillText(number(z, 0), across(z), height - 4);
  }

  function drawLevels({ log_px, bound, gap }) {
    const drawn = sharp(part("levels"), root);
    if (!drawn) return;
    const { context, width, height, colour } = drawn;
    const down = (nats) => 26 + ((log_px - nats) / DEPTH) * (height - 34);
    const [left, bar] = [34, clamp(width - 104, 30, 64)];
    const [top, level] = [down(log_px), Math.min(down(bound), height)];
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    for (let nats = Math.ceil(log_px - DEPTH); nats <= log_px - 0.4; nats++) {
      context.fillText(number(nats, 0), left - 8, down(nats) + 4);
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
    context.fillText(`${number(gap)} nats`, left + bar + 8, middle + 14);
    if (level > height - 4) context.fillText("↓", left + bar / 2 - 5, height - 6);
  }

  function show() {
    const numbers = now();
    const levels = levelsOf(numbers);
    drawDensities(numbers, levels);
    drawLevels(levels);
    for (const name of ["log_px", "bound", "log_likelihood", "price", "gap"]) part(name).textContent = number(levels[name]);
    for (const name of Object.keys(RANGES)) {
      slide(part(name), q[name], `${q[name].toFixed(2)}, gap ${levels.gap.toFixed(2)} nats`);
      part(`${name}-now`).textContent = number(q[name]);
    }
    part("levels").setAttribute("aria-label", `log p(x) ${levels.log_px.toFixed(2)}, bound ${levels.bound.toFixed(2)}`);
  }

  function stop() {
    clock.stop();
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
    if (clock.running()) {
      stop();
      return tell(q);
    }
    if (calm()) {
      for (let k = 0; k < 2000 && ascend(); k++);
      show();
      return tell(q);
    }
    part("climb").textContent = "stop";
    clock.start(() => {
      const moving = ascend();
      show();
      if (moving) return true;
      stop();
      tell(q);
      return false;
    });
  }

  for (const [name, [min, max, step]] of Object.entries(RANGES)) {
    Object.assign(part(name), { min, max, step });
    part(name).addEventListener("input", () => {
      stop();
      q[name] = +part(name).value;
      show();
      tell(q);
    });
  }
  part("climb").addEventListener("click", climb);

  function load() {
    for (const name of Object.keys(RANGES)) q[name] = model.get(name);
    show();
  }
  load();
  follow(part("densities"), show);
  const moved = () => model.get("mean") !== q.mean || model.get("log_sigma") !== q.log_sigma;
  hear(Object.keys(RANGES), () => !clock.running() && moved() && load());
  atEnd(stop);
  return close;
}

export default { render };

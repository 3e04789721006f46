// The set bound: |D| and |X| as sliders, the gap as an area. Every number is a formula of the slope a, the noise s and
// the two sizes, averaged over all classes that the model makes. Live in a kernel and alone in a page: shell.py.
import { clamp, mount, number, sharp, slide } from "./shell.js";

const SIZES = { support_size: "|D|", set_size: "|X|" };
const OTHERS = ["vhe", "neural-statistician", "resample", "rescale"];
const NAMES = { vhe: "VHE", "neural-statistician": "Neural St.", resample: "resample", rescale: "rescale" };
const EXPLORER = `
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

function render(context) {
  const { model, root, part, hear, tell, follow, close } = mount(context, {
    look: "oneshot-bound oneshot-set", name: "the bound of a class and its gap", parts: EXPLORER, described: "areas",
  });
  const sizes = { support_size: 1, set_size: 1 };
  let view = [-1, 0];

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

  function sheet(name) {
    const drawn = sharp(part(name), root);
    if (!drawn) return null;
    const floor = drawn.height - 22;
    return { ...drawn, floor, down: (nats) => ((view[1] - nats) / (view[1] - view[0])) * floor };
  }

  function drawAreas({ ceiling, bound, gap }) {
    const drawn = sheet("areas");
    if (!drawn) return;
    const { context, width, height, floor, colour, line, down } = drawn;
    const left = 34, right = width - 10;
    const across = (n) => left + ((n - 1) / (most() - 1)) * (right - left);
    const [N, n] = [sizes.support_size, sizes.set_size];
    const range = Array.from({ length: most() }, (_, k) => k + 1);
    const above = range.map((k) => [across(k), down(at(k, k).ceiling)]);
    const below = range.slice(N - 1).map((k) => [across(k), down(at(N, k).bound)]);
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    for (let nats = Math.ceil(view[0] * 2) / 2; nats < view[1]; nats += 0.5) {
      context.fillText(number(nats, 1), left - 6, down(nats) + 4);
    }
    context.textAlign = "center";
    for (const k of [1, ...range.filter((k) => k % 10 === 0)]) context.fillText(number(k, 0), across(k), height - 5);
    context.beginPath();
    for (const point of [...above.slice(N - 1), ...below.slice().reverse()]) context.lineTo(...point);
    context.closePath();
    context.globalAlpha = 0.2;
    context.fillStyle = colour("write");
    context.fill();
    context.globalAlpha = 1;
    line([[left, floor], [right, floor]], colour("line"), 1);
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    context.fillText("|X|", right - 7, floor - 7);
    line([[across(n), floor], [across(n), down(bound)]], colour("muted"), 1, [3, 3]);
    line(above, colour("text"), 2);
    line(below, colour("read"), 2);
    line([[across(n), down(ceiling)], [across(n), down(bound)]], colour("write"), 4);
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
    context.fillText(`gap ${number(gap)}`, across(n) + (near ? 9 : -9), middle);
  }

  function drawFour(levels) {
    const drawn = sheet("four");
    if (!drawn) return;
    const { context, width, height, floor, colour, line, down } = drawn;
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
      context.fillText(number(levels[name]) + deeper, middle, over ? down(levels.ceiling) - 6 : top - 6);
      context.fillStyle = colour("muted");
      context.fillText(NAMES[name], middle, height - 5, column - 4);
    });
    const ceiling = down(levels.ceiling), own = down(levels.of_supports);
    line([[0, ceiling], [width, ceiling]], colour("text"), 2);
    line([[column + 2, own], [2 * column - 2, own]], colour("text"), 2, [3, 2]);
  }

  function show() {
    const levels = at(sizes.support_size, sizes.set_size);
    drawAreas(levels);
    drawFour(levels);
    for (const name of ["ceiling", "gap", "lost", "bound", "log_likelihood", "price", "share"]) {
      part(name).textContent = number(levels[name], name === "share" ? 3 : 2);
    }
    for (const name of Object.keys(SIZES)) {
      const max = name === "support_size" ? sizes.set_size : most();
      Object.assign(part(name), { min: 1, max, step: 1 });
      slide(part(name), sizes[name], `${sizes[name]} elements, gap ${levels.gap.toFixed(2)} nats`);
      part(`${name}-now`).textContent = sizes[name];
    }
    const four = OTHERS.map((name) => `${name} ${levels[name].toFixed(2)}`).join(", ");
    part("four").setAttribute("aria-label", `log p(X) over |X| ${levels.ceiling.toFixed(2)}; ${four}`);
  }

  for (const name of Object.keys(SIZES)) {
    part(name).addEventListener("input", () => {
      sizes[name] = clamp(Math.round(+part(name).value), 1, most());
      sizes.support_size = Math.min(sizes.support_size, sizes.set_size);
      show();
      tell(sizes);
    });
  }

  function load() {
    for (const name of Object.keys(SIZES)) sizes[name] = clamp(model.get(name), 1, most());
    sizes.support_size = Math.min(sizes.support_size, sizes.set_size);
    measure();
    show();
  }
  load();
  follow(part("areas"), show);
  hear(Object.keys(SIZES), () => Object.keys(SIZES).some((name) => model.get(name) !== sizes[name]) && load());
  return close;
}

export default { render };

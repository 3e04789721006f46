// The episode viewer: one query, every class's score, and what would have been drawn. Live in a kernel and alone in a
// page: shell.py.
import { drawingAt, inkSheet, mount, octets, paintDrawing, slide, times } from "./shell.js";

const REACH = 40; // nats below the best at which a bar is empty
const VIEWER = `
  <div class="oneshot-top">
    <div class="oneshot-asked" data-part="asked" role="img"></div>
    <div class="oneshot-verdict">
      <p class="oneshot-which" data-part="which"></p>
      <p class="oneshot-says" data-part="says" aria-live="polite"></p>
      <input type="range" min="1" step="1" data-part="slider" aria-label="query">
      <div class="oneshot-marks" data-part="marks" aria-hidden="true"></div>
      <p class="oneshot-tally" data-part="tally"></p>
    </div>
  </div>
  <div class="oneshot-classes" data-part="classes" role="group" aria-label="the classes, with nats below the best"></div>
  <div class="oneshot-drawn" data-part="drawn"></div>`;

function render(context) {
  const { model, root, part, hear, tell, close } = mount(context, {
    look: "oneshot-episode", name: "an episode of classification", parts: VIEWER, described: "classes",
  });
  const slider = part("slider");
  let scene, support, queries, made, pixels, at = 0;

  const nats = (number) => (number < 9.95 ? number.toFixed(1) : number.toFixed(0));

  function show() {
    const [winner, truth, below] = [scene.winner[at], scene.truth[at], scene.below[at]];
    const right = winner === truth;
    const runner = Math.min(...below.filter((_, k) => k !== winner));
    const lead = right ? runner : below[truth];
    const verdict = right ? `✓ right: ${scene.names[winner]}` : `✗ wrong: ${scene.names[winner]}, not ${scene.names[truth]}`;
    slide(slider, at + 1, `query ${at + 1} of ${scene.queries}, ${verdict.slice(2)}`);
    part("which").textContent = `query ${at + 1} of ${scene.queries}`;
    const margin = `${nats(lead)} nats ${right ? "ahead of the next" : "behind the winner"}`;
    part("says").innerHTML = `<b>${verdict}</b> <span>${margin}</span>`;
    part("says").classList.toggle("oneshot-err", !right);
    paintDrawing(part("asked").querySelector("canvas"), drawingAt(queries, at, pixels), scene.size);
    [...part("marks").children].forEach((mark, q) => mark.classList.toggle("oneshot-now", q === at));
    [...part("classes").children].forEach((cell, k) => {
      const [role, said] = k === winner ? (right ? ["✓", "wins, and is right"] : ["✗", "wins, and is wrong"])
        : k === truth ? ["right", "the right one"] : ["", ""];
      cell.toggleAttribute("data-winner", k === winner);
      cell.toggleAttribute("data-truth", k === truth && !right);
      cell.querySelector(".oneshot-role").textContent = role;
      cell.querySelector(".oneshot-bar i").style.width = `${100 * Math.max(0, 1 - below[k] / REACH)}%`;
      cell.querySelector(".oneshot-nats").textContent = k === winner ? "best" : `−${nats(below[k])}`;
      cell.setAttribute("aria-label", `${scene.names[k]}: ${k === winner ? "best" : `${nats(below[k])} nats below`}${
        said ? `, ${said}` : ""}`);
    });
    const rows = [[winner, right ? "the class that wins, and is right" : "the class that wins"]];
    if (!right) rows.push([truth, "the right class"]);
    part("drawn").innerHTML = rows.map(([k, what]) => `<figure><figcaption>drawn from <b>${scene.names[k]}</b>,
      ${what}</figcaption><div>${times(scene.samples, (s) => inkSheet(`drawn from ${scene.names[k]}, ${s + 1}`))}</div>
      </figure>`).join("");
    const made_of = ([k]) => Array.from({ length: scene.samples }, (_, s) => drawingAt(made, k * scene.samples + s, pixels));
    const drawings = rows.flatMap(made_of);
    [...part("drawn").querySelectorAll("canvas")].forEach((canvas, s) => paintDrawing(canvas, drawings[s], scene.size));
  }

  // --- what Python, or the page, says there is to see ---

  function load() {
    scene = model.get("scene");
    [support, queries, made] = [octets(scene.support), octets(scene.query), octets(scene.made)];
    pixels = scene.size[0] * scene.size[1];
    slider.max = scene.queries;
    root.style.setProperty("--columns", scene.queries);
    part("asked").innerHTML = inkSheet();
    part("asked").setAttribute("aria-label", "the query");
    const hits = scene.truth.filter((k, q) => k === scene.winner[q]).length;
    part("tally").textContent = `${hits} of ${scene.queries} right`;
    part("marks").innerHTML = times(scene.queries, (q) => {
      const right = scene.truth[q] === scene.winner[q];
      return `<span class="${right ? "" : "oneshot-err"}" title="query ${q + 1}">${right ? "✓" : "✗"}</span>`;
    });
    [...part("marks").children].forEach((mark, q) => mark.addEventListener("click", () => settle(q)));
    part("classes").innerHTML = times(scene.classes, (k) => `<div role="img"><p><b>${scene.names[k]}</b>
      <span class="oneshot-role"></span></p><div class="oneshot-shots">${times(scene.shots, () => inkSheet())}</div>
      <div class="oneshot-bar"><i></i></div><p class="oneshot-nats"></p></div>`);
    [...part("classes").querySelectorAll("canvas")].forEach((canvas, k) => {
      paintDrawing(canvas, drawingAt(support, k, pixels), scene.size);
    });
    root.toggleAttribute("data-several", scene.shots > 1);
    turn();
  }

  function turn() {
    at = model.get("position");
    show();
  }

  function settle(q) {
    at = q;
    show();
    tell({ position: at });
  }

  // --- what the reader does ---

  slider.addEventListener("input", () => settle(+slider.value - 1));
  load();
  hear(["position"], () => model.get("position") !== at && turn());
  hear(["scene"], load);
  return close;
}

export default { render };

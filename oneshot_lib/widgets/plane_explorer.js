// The plane of drawings: whose drawings lie where, and what they look like. Live in a kernel and alone in a page:
// shell.py.
import { drawingAt, inkSheet, mount, number, octets, paintDrawing, sharp, slide, times } from "./shell.js";

const REACH = 26; // CSS pixels from a click to a point
const BEFORE = 0xffff; // as in plane_explorer.py
const PLANE = `
  <div class="oneshot-choose">
    <label><span>whose drawings</span>
      <input type="range" min="0" step="1" data-part="chosen" aria-label="whose drawings"></label>
    <label data-part="walk"><span data-part="walks"></span>
      <input type="range" min="0" step="1" data-part="step" aria-label="how far along the path"></label>
  </div>
  <div class="oneshot-halves">
    <div class="oneshot-field">
      <canvas data-part="plane" role="img"></canvas>
      <p class="oneshot-legend"><span><i class="oneshot-who"></i>people</span> <span><i class="oneshot-done"></i>controls</span>
        <span><i class="oneshot-made-by"></i>models</span> <span>bars: two standard errors</span></p>
      <p class="oneshot-says" data-part="says" aria-live="polite"></p>
    </div>
    <div class="oneshot-sheets">
      <div class="oneshot-asked">
        <div data-part="exemplar" role="img" aria-label="the exemplar"></div>
        <label>shown to all of them<select data-part="character" aria-label="which character"></select></label>
      </div>
      <div class="oneshot-drawings" data-part="drawings"></div>
      <p class="oneshot-own" data-part="own"></p>
    </div>
  </div>`;

// An exemplar moved over its page, what leaves it lost.
function moved(drawing, down, right, size) {
  const there = new Uint8Array(size * size);
  for (let i = Math.max(0, down); i < size + Math.min(0, down); i++) {
    for (let j = Math.max(0, right); j < size + Math.min(0, right); j++) {
      there[i * size + j] = drawing[(i - down) * size + j - right];
    }
  }
  return there;
}

// The drawings of a source, [stop][character][drawing]: of its pixels, or of changes of the exemplars.
function unpackSource(source, exemplars) {
  const { count, size } = source, stops = source.stops.length;
  const made = source.stops.map(() => exemplars.map(() => new Array(count)));
  if (source.bits) {
    const rows = octets(source.bits);
    for (let m = 0, k = 0; m < stops; m++) {
      for (const row of made[m]) for (let n = 0; n < count; n++, k++) row[n] = drawingAt(rows, k, size * size);
    }
    return made;
  }
  const held = octets(source.changes);
  let at = 0;
  const word = () => held[at++] + 256 * held[at++];
  for (let c = 0; c < exemplars.length; c++) {
    for (let n = 0; n < count; n++) {
      for (let m = 0; m < stops; m++) {
        const tag = word();
        const by = [Math.floor(tag / (2 * size)) - size, (tag % (2 * size)) - size];
        const drawing = tag === BEFORE ? made[m - 1][c][n].slice() : moved(exemplars[c], ...by, size);
        for (let left = word(); left > 0; left--) drawing[word()] ^= 1;
        made[m][c][n] = drawing;
      }
    }
  }
  return made;
}

function render(context) {
  const { model, root, part, hear, tell: save, follow, close } = mount(context, {
    look: "oneshot-plane", name: "the plane of diversity and recognizability", parts: PLANE, described: "plane",
  });
  const plane = part("plane");
  let scene, exemplars, drawings, steps, people, chosen = 0, character = 0, spots = [];

  const stopOf = (k) => scene.sources[k].stops[steps[k]];

  // --- the plane ---

  function drawPlane() {
    const drawn = sharp(plane, root);
    if (!drawn) return;
    const { context, width, height, colour, line } = drawn;
    const every = scene.sources.flatMap((source) => source.stops.map((stop) => stop.at));
    const most = 1.12 * Math.max(...every.map((at) => at[0] + 2 * at[1]), 1e-6);
    const [left, floor, right, top] = [40, height - 38, width - 8, 26];
    const across = (value) => left + 6 + (value / most) * (right - left - 6);
    const down = (value) => floor - 4 - (value / 100) * (floor - 4 - top);
    // axes
    context.fillStyle = colour("muted");
    context.textAlign = "right";
    for (const value of [0, 25, 50, 75, 100]) context.fillText(value, left - 6, down(value) + 4);
    context.textAlign = "center";
    const pace = [0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10].find((step) => most / step <= 7) || most / 5;
    for (let value = 0; value < most; value += pace) context.fillText(number(value, pace < 1 ? 2 : 0), across(value), floor + 15);
    context.fillText("diversity", (left + right) / 2, height - 5);
    context.save();
    context.translate(10, (top + floor) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("recognizability, %", 0, 0);
    context.restore();
    line([[left, top - 8], [left, floor], [right, floor]], colour("line"));
    const mark = people.at;
    line([[left, down(mark[2])], [right, down(mark[2])]], colour("line"), 1.5, [5, 4]);
    line([[across(mark[0]), top - 8], [across(mark[0]), floor]], colour("line"), 1.5, [5, 4]);
    // who is where
    spots = [];
    const taken = []; // boxes that no name may be written over
    const colours = { people: colour("text"), controls: colour("muted"), models: colour("write") };
    const sign = (at, group, size, filled = true) => {
      const [x, y] = [across(at[0]), down(at[2])];
      context.beginPath();
      if (group === "people") {
        for (const [dx, dy] of [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]]) context.lineTo(x + dx * size, y + dy * size);
        context.closePath();
      } else context.arc(x, y, size, 0, 7);
      Object.assign(context, { fillStyle: filled ? colours[group] : colour("card"), strokeStyle: colours[group], lineWidth: 1.5 });
      context.fill();
      context.stroke();
    };
    scene.sources.forEach(({ group, stops }, k) => {
      if (stops.length > 1) line(stops.map(({ at }) => [across(at[0]), down(at[2])]), colours[group], 1.25);
      stops.forEach(({ at }, m) => {
        spots.push({ k, m, x: across(at[0]), y: down(at[2]) });
        if (stops.length > 1) return sign(at, group, 2.5);
        const [x, y, wide] = [across(at[0]), down(at[2]), 2 * at[1]];
        const ends = [across(Math.max(0, at[0] - wide)), across(at[0] + wide),
          down(Math.min(100, at[2] + 2 * at[3])), down(Math.max(0, at[2] - 2 * at[3]))];
        line([[ends[0], y], [ends[1], y]], colours[group]);
        line([[x, ends[2]], [x, ends[3]]], colours[group]);
        taken.push([ends[0], y - 1, ends[1], y + 1], [x - 1, ends[2], x + 1, ends[3]]);
        sign(at, group, 4.5, stops[m] === people || group !== "people");
      });
    });
    // the chosen one, and its name above all others
    const here = spots.find(({ k, m }) => k === chosen && m === steps[k]);
    context.beginPath();
    context.arc(here.x, here.y, 10, 0, 7);
    Object.assign(context, { strokeStyle: colour("read"), lineWidth: 2.5 });
    context.stroke();
    sign(stopOf(chosen).at, scene.sources[chosen].group, 5);
    spots.forEach((spot, i) => {
      taken.push([spot.x - 5, spot.y - 5, spot.x + 5, spot.y + 5]);
      const next = spots[i + 1];
      if (next?.k !== spot.k) return;
      for (let t = 0; t < 1; t += 0.1) {
        const [x, y] = [spot.x + t * (next.x - spot.x), spot.y + t * (next.y - spot.y)];
        taken.push([x - 1, y - 1, x + 1, y + 1]);
      }
    });
    const order = [chosen, ...scene.sources.keys()].filter((k, i) => !i || k !== chosen);
    for (const k of order) {
      const { name, stops } = scene.sources[k];
      const long = context.measureText(name).width;
      const far = k === chosen ? 14 : 9;
      // A path has its name at its end, or at whichever other stop there is room for it.
      const places = (k === chosen ? [stopOf(k)] : [...stops].reverse()).flatMap(({ at }) => {
        const [x, y] = [across(at[0]), down(at[2])];
        return [[x + far, y + 4], [x - far - long, y + 4], [x - long / 2, y - far - 1], [x - long / 2, y + far + 11],
          [x + far, y + 17], [x - far - long, y + 17], [x + far, y - 9], [x - far - long, y - 9]];
      });
      const free = places.find(([a, b]) => a >= left + 2 && a + long <= right && b - 11 >= 0 && b + 3 <= floor
        && !taken.some(([x0, y0, x1, y1]) => a < x1 && a + long > x0 && b - 11 < y1 && b + 3 > y0));
      const put = free || (k === chosen && [Math.max(left + 2, Math.min(places[0][0], right - long)), places[0][1]]);
      if (!put) continue;
      taken.push([put[0], put[1] - 11, put[0] + long, put[1] + 3]);
      context.fillStyle = k === chosen ? colour("text") : colours[scene.sources[k].group];
      context.textAlign = "left";
      context.fillText(name, ...put);
    }
  }

  // --- the drawings ---

  function show() {
    const source = scene.sources[chosen], stop = stopOf(chosen);
    slide(part("chosen"), chosen, source.name);
    part("walk").classList.toggle("oneshot-still-there", source.stops.length === 1);
    part("step").disabled = source.stops.length === 1;
    part("step").max = Math.max(source.stops.length - 1, 1);
    slide(part("step"), steps[chosen], stop.label || source.name);
    part("walks").textContent = source.stops.length > 1 ? stop.label : "how far";
    part("character").value = character;
    const [diversity, d, known, r] = stop.at;
    part("says").innerHTML = `<b></b> <span>diversity <b>${number(diversity, 2)}</b> ± ${number(d, 2)}</span>
      <span>recognized <b>${number(known, 1)}</b> ± ${number(r, 1)}&nbsp;%</span>`;
    part("says").querySelector("b").textContent = source.name + (source.stops.length > 1 ? `, ${stop.label}` : "");
    const [own, ownKnown] = stop.parts[character];
    part("own").innerHTML = `this character: diversity <b>${number(own, 2)}</b>, recognized <b>${number(ownKnown, 0)}&nbsp;%</b>`;
    const made = drawings[chosen] ||= unpackSource(source, exemplars);
    const cells = part("drawings");
    if (cells.childElementCount !== source.count) {
      cells.innerHTML = times(source.count, (n) => inkSheet(`drawing ${n + 1}`));
    }
    const size = [source.size, source.size];
    [...cells.querySelectorAll("canvas")].forEach((canvas, n) => paintDrawing(canvas, made[steps[chosen]][character][n], size));
    paintDrawing(part("exemplar").querySelector("canvas"), exemplars[character], [scene.size, scene.size]);
    drawPlane();
  }

  // --- what Python, or the page, says there is to see ---

  function load() {
    scene = model.get("scene");
    const rows = octets(scene.exemplars);
    exemplars = scene.names.map((_, c) => drawingAt(rows, c, scene.size ** 2));
    drawings = [];
    steps = scene.sources.map(({ stops }) => Math.floor(stops.length / 2));
    people = scene.sources.find(({ group }) => group === "people").stops[0];
    part("chosen").max = scene.sources.length - 1;
    part("exemplar").innerHTML = inkSheet();
    part("character").replaceChildren(...scene.names.map((name, c) => new Option(name, c)));
    turn();
  }

  function turn() {
    const most = scene.sources[model.get("chosen")].stops.length - 1;
    [chosen, character] = [model.get("chosen"), model.get("character")];
    steps[chosen] = Math.min(model.get("step"), most);
    show();
  }

  function tell() {
    show();
    save({ chosen, step: steps[chosen], character });
  }

  // --- what the reader does ---

  part("chosen").addEventListener("input", () => {
    chosen = +part("chosen").value;
    tell();
  });
  part("step").addEventListener("input", () => {
    steps[chosen] = +part("step").value;
    tell();
  });
  part("character").addEventListener("change", () => {
    character = +part("character").value;
    tell();
  });
  // The nearest point to the mouse; where stops of two paths lie on each other, that of the chosen path.
  const nearest = (event) => {
    const box = plane.getBoundingClientRect();
    const far = ({ x, y }) => Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y);
    const own = (spot) => far(spot) - (spot.k === chosen ? 2 : 0);
    const found = spots.reduce((best, spot) => (!best || own(spot) < own(best) ? spot : best), null);
    return found && far(found) <= REACH ? found : null;
  };
  plane.addEventListener("click", (event) => {
    const spot = nearest(event);
    if (!spot) return;
    chosen = spot.k;
    steps[chosen] = spot.m;
    tell();
  });
  plane.addEventListener("mousemove", (event) => {
    plane.style.cursor = nearest(event) ? "pointer" : "default";
  });
  load();

  follow(plane, drawPlane);
  hear(["scene"], load);
  hear(["chosen", "step", "character"], turn);
  return close;
}

export default { render };

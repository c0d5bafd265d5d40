// Universes side by side on one clock: play, scrub, speed, colours and their limits. For notebooks (anywidget) and saved pages.

import { html, render as draw } from "./static/vendor/lit-html/lit-html.js";
import { drawColourBar } from "./static/js/colourbar.js";
import { Clock, mountTimeline } from "./static/js/player.js";
import { mountViewer } from "./static/js/viewer.js";

const MOST_SHADERS = 4; // a browser has about 16 WebGL contexts for all views of a notebook

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

/** Returns the position of the last of the increasing `steps` that is not after `step`, or -1. */
export function indexAt(steps, step) {
  let low = 0, high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/** Decodes base64. */
export const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/**
 * Puts universes into an element.
 * @param panels [{title, height, width, map, limits: [low, high], units}]. With a `map`, frames are codes: 0 stands for the
 *   lower limit and 255 for the upper one. Without, they are red, green, blue.
 * @param options.live says whether newer frames are coming.
 * @returns {add(panel, step, bytes), play, clock, viewers, told, destroy}; frames of a panel come in the order of their
 *   steps; `told` is to be called when `live` has another answer.
 */
export function mountUniverses(element, panels, { fps = 12, live = () => false } = {}) {
  const root = document.createElement("div");
  root.className = "leym";
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Universes: space plays, arrows go by a frame, plus and minus zoom, zero fits");
  draw(html`<div class="panels">${panels.map(({ title, width, height }) => html`<figure>
      <div class="stage" style=${`aspect-ratio:${width}/${height}`}></div><figcaption title=${title}>${title}</figcaption></figure>`)}</div>
    <div class="colours"></div><div class="time"></div>`, root);
  element.append(root);
  const stages = [...root.querySelectorAll(".stage")];
  const views = panels.map((panel, i) => {
    const onHover = (cell) => { stages[i].title = cell ? `y ${cell.y}, x ${cell.x}` : ""; };
    const viewer = mountViewer(stages[i], { map: panel.map ?? "gray", force2d: panels.length > MOST_SHADERS, onHover });
    stages[i].dataset.kind = viewer.kind;
    return { ...panel, viewer, steps: [], frames: [], shown: -1 };
  });

  // ---- time

  const clock = new Clock();
  Object.assign(clock, { fps, live: true });
  const timeline = mountTimeline(root.querySelector(".time"), clock, {
    canLive: live,
    onLive: () => { clock.pause(); clock.seek(clock.last, true); },
  });
  const show = () => {
    for (const [i, view] of views.entries()) {
      const at = indexAt(view.steps, clock.step);
      if (at < 0 || at === view.shown) continue;
      view.shown = at;
      view.viewer.show({ data: view.frames[at], height: view.height, width: view.width, rgb: !view.map });
      stages[i].dataset.step = view.steps[at];
    }
  };
  clock.watch(show);

  let first = null, gap = 0, start = 0, last = 0; // all steps are `first` and a multiple of `gap`
  function add(panel, step, bytes) {
    views[panel].steps.push(step);
    views[panel].frames.push(bytes);
    if (first === null) first = start = last = step;
    gap = divisor(gap, Math.abs(step - first));
    [start, last] = [Math.min(start, step), Math.max(last, step)];
    clock.setSteps({ start, stop: last + 1, stride: gap || 1 });
    if (clock.live) clock.seek(last, true);
  }

  // ---- colours: one bar for all, since the universes of a view show one field

  const scaled = views.filter(({ map }) => map);
  const bar = scaled.length ? { map: scaled[0].map, domain: [...scaled[0].limits], range: [...scaled[0].limits], unit: scaled[0].units ?? "1", rgb: false } : null;
  const drawBar = () => drawColourBar(root.querySelector(".colours"), bar, { map: setMap, range: setRange, auto, full: () => setRange(...bar.domain) });

  function setMap(name) {
    bar.map = name;
    for (const { viewer } of scaled) viewer.setMap(name);
    drawBar();
  }

  function setRange(low, high) {
    bar.range = [low, high];
    for (const { viewer, limits: [from, to] } of scaled) viewer.setRange((low - from) / (to - from || 1), (high - from) / (to - from || 1));
    drawBar();
  }

  function auto() { // the limits of what is shown now
    let low = Infinity, high = -Infinity;
    for (const { frames, shown, limits: [from, to] } of scaled) {
      for (const code of frames[shown] ?? []) {
        const value = from + (code / 255) * (to - from);
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low < high) setRange(low, high);
  }
  if (bar) drawBar();

  // ---- keys, of what has the focus only: a notebook has keys of its own

  const all = (action) => { for (const { viewer } of views) action(viewer); };
  const keys = {
    " ": () => clock.toggle(), ArrowLeft: () => clock.move(-1), ArrowRight: () => clock.move(1),
    Home: () => { clock.pause(); clock.seek(clock.start); }, End: () => { clock.pause(); clock.seek(clock.last, live()); },
    o: () => { clock.loop = !clock.loop; clock.tell(); }, a: () => bar && auto(),
    "+": () => all((viewer) => viewer.zoom(1.4)), "-": () => all((viewer) => viewer.zoom(0.7)), 0: () => all((viewer) => viewer.fit()),
  };
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    const own = event.target.closest("input, select, button"); // which have the keys that they know
    if (!keys[event.key] || (own && own !== root) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });

  return {
    add, clock, viewers: views.map(({ viewer }) => viewer), play: () => clock.play(), told: () => clock.tell(),
    destroy() {
      clock.stopAll();
      timeline.destroy();
      for (const { viewer } of views) viewer.destroy();
      root.remove();
    },
  };
}

/** Shows the model of anywidget: frames come as messages with a buffer each, after `ready`. */
function render({ model, el }) {
  const shown = mountUniverses(el, model.get("panels"), { fps: model.get("fps"), live: () => model.get("live") });
  const receive = (message, buffers) => {
    for (const [i, [panel, step]] of message.frames.entries()) {
      const buffer = buffers[i];
      shown.add(panel, step, new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength));
    }
  };
  model.on("msg:custom", receive);
  model.on("change:live", shown.told);
  model.send({ type: "ready" });
  return () => { model.off("msg:custom", receive); model.off("change:live", shown.told); shown.destroy(); };
}

export default { render };

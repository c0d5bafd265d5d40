// Universes side by side on one clock: play, scrub, speed. Used by notebooks (anywidget) and by saved HTML pages.

const STYLE = `
.leym { font: 13px/1.4 system-ui, sans-serif; color: inherit; }
.leym .panels { display: flex; flex-wrap: wrap; gap: 12px; }
.leym figure { margin: 0; }
.leym canvas { display: block; width: 256px; max-width: 100%; image-rendering: pixelated; background: #8884; }
.leym figcaption { max-width: 256px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.leym .bar { display: flex; align-items: center; gap: 8px; margin-top: 8px; max-width: 800px; }
.leym .bar input[type=range] { flex: 1; }
.leym output { min-width: 9ch; font-variant-numeric: tabular-nums; }`;

/** Colours one frame: bytes are codes of `map` (256 x 3), or red, green and blue if there is no map. */
export function colour(bytes, map, pixels) {
  for (let i = 0, at = 0; at < pixels.length; i += map ? 1 : 3, at += 4) {
    const from = map ? 3 * bytes[i] : i;
    const source = map || bytes;
    pixels[at] = source[from];
    pixels[at + 1] = source[from + 1];
    pixels[at + 2] = source[from + 2];
    pixels[at + 3] = 255;
  }
}

/** Returns the position of the last of the increasing `steps` that is not after `step`, or -1. */
export function indexAt(steps, step) {
  let low = 0, high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/**
 * Builds the viewer in `element`. `panels`: [{title, height, width, map}], map a Uint8Array of 768 or null.
 * Returns {add(panel, step, bytes), destroy()}; frames come in the order of their steps.
 */
export function mountViewer(element, panels, { fps = 12 } = {}) {
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const views = panels.map((panel) => {
    const canvas = make("canvas", { width: panel.width, height: panel.height, title: panel.title });
    const context = canvas.getContext("2d");
    const image = context.createImageData(panel.width, panel.height);
    return { ...panel, canvas, context, image, steps: [], frames: [], shown: -1 };
  });
  const button = make("button", { type: "button", textContent: "Play", title: "play or pause (space)" });
  const slider = make("input", { type: "range", min: 0, max: 0, step: 1, value: 0, title: "step" });
  const speed = make("input", { type: "number", min: 1, max: 60, value: fps, title: "frames per second" });
  const output = make("output", { textContent: "step 0" });
  slider.setAttribute("aria-label", "step");
  const root = make("div", { className: "leym" },
    make("style", { textContent: STYLE }),
    make("div", { className: "panels" }, ...views.map((view) =>
      make("figure", {}, view.canvas, make("figcaption", { textContent: view.title, title: view.title })))),
    make("div", { className: "bar" }, button, slider, output, speed, make("span", { textContent: "fps" })));
  element.append(root);

  let clock = []; // the steps at which any panel has a frame
  let timer = 0;
  let following = true;
  const draw = () => {
    const step = clock[slider.valueAsNumber] ?? 0;
    output.textContent = `step ${step}`;
    for (const view of views) {
      const at = indexAt(view.steps, step);
      if (at < 0 || at === view.shown) continue;
      view.shown = at;
      colour(view.frames[at], view.map, view.image.data);
      view.context.putImageData(view.image, 0, 0);
    }
  };
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play"; };
  const play = () => {
    following = false;
    clearInterval(timer);
    button.textContent = "Pause";
    timer = setInterval(() => {
      slider.value = slider.valueAsNumber >= clock.length - 1 ? 0 : slider.valueAsNumber + 1;
      draw();
    }, 1000 / Math.max(1, speed.valueAsNumber || fps));
  };
  button.addEventListener("click", () => (timer ? stop() : play()));
  speed.addEventListener("change", () => timer && play());
  slider.addEventListener("input", () => {
    stop();
    following = slider.valueAsNumber === clock.length - 1;
    draw();
  });
  return {
    add(panel, step, bytes) {
      const view = views[panel];
      view.steps.push(step);
      view.frames.push(bytes);
      const at = indexAt(clock, step);
      if (clock[at] !== step) {
        clock.splice(at + 1, 0, step);
        slider.max = clock.length - 1;
        if (following) slider.value = clock.length - 1;
      }
      draw();
    },
    play,
    destroy() { stop(); root.remove(); },
  };
}

/** Decodes base64. */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** How anywidget shows the model: frames come as messages with a buffer each, after `ready`. */
function render({ model, el }) {
  const panels = model.get("panels").map((panel) => ({ ...panel, map: panel.map && bytesOf(panel.map) }));
  const viewer = mountViewer(el, panels, { fps: model.get("fps") });
  const receive = (message, buffers) => {
    for (const [i, [panel, step]] of message.frames.entries()) {
      const buffer = buffers[i];
      viewer.add(panel, step, new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength));
    }
  };
  model.on("msg:custom", receive);
  model.send({ type: "ready" });
  return () => { model.off("msg:custom", receive); viewer.destroy(); };
}

export default { render };

// Painting: strokes on the canvas that become interventions.

import { html, nothing, render, svg } from "../dom.js";

const TOOLS = {
  vortex: { words: "Vortex", make: (cell, { radius, charge }) => ({ kind: "vortex", ...cell, radius, charge }) },
  paint: { words: "Paint", make: (cell, { radius, channel, phase }) => ({ kind: "paint", ...cell, radius, channel, phase }) },
  noise: { words: "Noise", make: ({ y, x }, { radius, strength }) => ({ kind: "noise", strength, region: { kind: "disc", y, x, radius } }) },
  collapse: { words: "Collapse", make: ({ y, x }, { radius }) => ({ kind: "collapse", region: { kind: "disc", y, x, radius } }) },
};

/** Puts the tools into `bar` and the strokes over the canvas into `overlay`. `onRun(strokes)` runs them. */
export function mountBrushes(bar, overlay, { viewer, depth, side, where, onRun, onClose }) {
  const state = { tool: "vortex", radius: Math.max(2, Math.round(side / 12)), charge: 1, channel: 0, phase: 0, strength: 1 };
  const strokes = [];
  let busy = false, last = null;

  const number = (key, words, min, max, step, title = "") => html`<label class="small quiet" title=${title}>${words}
    <input type="number" aria-label=${words} .min=${String(min)} .max=${String(max)} .step=${String(step)} .value=${String(state[key])}
      @change=${(e) => { state[key] = Number(e.target.value); draw(); }}></label>`;

  function draw() {
    render(html`<div class="bar brushes" role="group" aria-label="Paint">
      ${Object.entries(TOOLS).map(([name, { words }]) => html`<button type="button" aria-pressed=${state.tool === name} @click=${() => { state.tool = name; draw(); }}>${words}</button>`)}
      ${number("radius", "Radius", 0, side, 0.5, "of the disc, in cells")}
      ${state.tool === "vortex" ? number("charge", "Charge", -8, 8, 1, "windings of the phase") : nothing}
      ${state.tool === "paint" ? html`${depth > 1 ? number("channel", "Channel", 0, depth - 1, 1) : nothing}${number("phase", "Phase", -3.14, 3.14, 0.1, "in radians")}` : nothing}
      ${state.tool === "noise" ? number("strength", "Strength", 0.05, 10, 0.05, "root of the mean square per channel") : nothing}
      <span class="small quiet">${strokes.length ? `${strokes.length} ${strokes.length === 1 ? "stroke" : "strokes"}` : "click the canvas"} · ${where()}</span>
      <span class="right"></span>
      <button type="button" ?disabled=${!strokes.length} @click=${() => { strokes.pop(); draw(); }}>Undo</button>
      <button type="button" class="primary" ?disabled=${!strokes.length || busy} @click=${run}>Paint and run</button>
      <button type="button" aria-label="Leave painting" @click=${onClose}>✕</button></div>`, bar);
    place();
  }

  /** Draws the strokes where the canvas shows their cells. */
  function place() {
    render(html`<svg class="strokes" aria-hidden="true">${strokes.map(({ y, x, ...one }) => {
      const at = viewer.placeOf((one.region?.y ?? y) + 0.5, (one.region?.x ?? x) + 0.5);
      const radius = one.region?.radius ?? one.radius;
      return svg`<circle cx=${at.left} cy=${at.top} r=${Math.max(3, (radius + 0.5) * at.side)} class=${one.kind}></circle>`;
    })}</svg>`, overlay);
  }

  async function run() {
    busy = true; draw();
    try {
      if (await onRun([...strokes])) { strokes.length = 0; }
    } finally { busy = false; draw(); }
  }

  draw();
  return {
    draw, place,
    /** Takes a pointer's cell; a drag adds strokes a radius apart, where the tool is one that is drawn with. */
    stroke(cell, phase) {
      if (!cell) return true;
      const far = !last || Math.hypot(cell.y - last.y, cell.x - last.x) >= Math.max(1, state.radius);
      if (phase === "start" || (phase === "move" && state.tool !== "vortex" && far)) {
        strokes.push(TOOLS[state.tool].make(cell, state));
        last = cell;
        draw();
      }
      if (phase === "end") last = null;
      return true;
    },
    destroy() { render(nothing, bar); render(nothing, overlay); },
  };
}

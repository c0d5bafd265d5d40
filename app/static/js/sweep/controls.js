// What the phase diagram shows: axes, observable, statistic, window of steps, colours.

import { NAMES } from "../colormaps.js";
import { html, nothing, whole } from "../dom.js";
import { STATISTICS, axesOf, lengthOf } from "./data.js";

const FORMULAS = {
  channel_entropy: "S = −Σ p_c log p_c / log d, mean over the grid",
  coherence: "mean over neighbours of |⟨ψx, ψy⟩| / (|ψx| |ψy|)",
  activity: "1 − |⟨ψ(t−1), ψ(t)⟩| / (|ψ(t−1)| |ψ(t)|), mean over the grid",
  overlap: "mean over cells of |⟨ψ0, ψt⟩|² / (|ψ0|² |ψt|²)",
};

/** Returns the definition of an observable, for tooltips. */
export const formula = (name) => FORMULAS[name] || FORMULAS[name.replace(/_sd$/, "")]?.replace("mean over the grid", "standard deviation over the grid") || name;

const choose = (label, value, options, change, title) => html`<label class="field" title=${title || nothing}>${label}
  <select @change=${(event) => change(event.target.value)}>${options.map(([key, words]) =>
    html`<option value=${key} ?selected=${key === value}>${words}</option>`)}</select></label>`;

/** Returns the axes that have more than one value. */
const variable = ({ sweep }) => axesOf(sweep).map(({ key }) => key).filter((key) => lengthOf(sweep.spec.axes[key], sweep.size) > 1);

/** The controls of a screen. */
export function controls(screen) {
  const axes = variable(screen).map((key) => [key, key]);
  const [from, to] = (screen.params.window || `${screen.steps},${screen.steps}`).split(",").map(Number);
  const tiles = screen.params.view === "tiles";
  const value = screen.choice("value");
  const windowed = Boolean(screen.params.window);
  const setWindow = (first, last) => screen.set({ window: `${Math.min(first, last)},${Math.max(first, last)}` });
  return html`<div class="controls">
    ${choose("Horizontal", screen.choice("x"), axes, (x) => screen.set({ x, ...(x === screen.choice("y") ? { y: screen.choice("x") } : {}) }))}
    ${choose("Vertical", screen.choice("y"), [["", "none"], ...axes], (y) => screen.set({ y, ...(y === screen.choice("x") ? { x: screen.choice("y") } : {}) }))}
    ${choose("Side by side", screen.choice("facet"), [["", "none"], ...axes], (facet) => screen.set({ facet }), "A map for each value of an axis")}
    <div class="segmented" role="group" aria-label="Cells show">
      <button type="button" aria-pressed=${!tiles} @click=${() => screen.set({ view: "" })}>Heat</button>
      <button type="button" aria-pressed=${tiles} ?disabled=${!screen.fields.length} title=${screen.fields.length ? "A frame of a universe in each cell (t)" : "No field is recorded"}
        @click=${() => screen.set({ view: "tiles" })}>Thumbnails</button>
    </div>
    ${tiles ? choose("Field", screen.field, screen.fields.map((name) => [name, name]), (field) => screen.set({ field }))
      : html`${choose("Observable", value, screen.observables.map((name) => [name, name]), (next) => screen.set({ value: next }), formula(value))}
        ${choose("Statistic", screen.choice("stat"), Object.entries(STATISTICS), (stat) => screen.set({ stat }), "Over the universes of a cell that differ in the other axes")}
        <label class="field">Steps
          <select @change=${(event) => (event.target.value ? setWindow(Math.floor(screen.steps * 0.75), screen.steps) : screen.set({ window: "" }))}>
            <option value="" ?selected=${!windowed}>the last</option><option value="w" ?selected=${windowed}>a window</option></select></label>
        ${windowed ? html`<label class="field">from <input type="number" min="0" max=${screen.steps} .value=${String(from)}
            @change=${(event) => setWindow(Number(event.target.value), to)}></label>
          <label class="field">to <input type="number" min="0" max=${screen.steps} .value=${String(to)}
            @change=${(event) => setWindow(from, Number(event.target.value))}></label>` : nothing}`}
    ${choose("Colours", screen.choice("map") || "", [["", "usual"], ...NAMES.map((name) => [name, name])], (map) => screen.set({ map }))}
  </div>
  <p class="small quiet">${averaged(screen, windowed, from, to, tiles)}</p>`;
}

function averaged(screen, windowed, from, to, tiles) {
  const shown = ["x", "y", "facet"].map((name) => screen.choice(name));
  const others = variable(screen).filter((key) => !shown.includes(key));
  if (tiles) return `Each cell shows the first of its universes${others.length ? ` (the others differ in ${others.join(", ")})` : ""}.`;
  const when = windowed ? `over the observed steps ${whole(from)} to ${whole(to)}` : "at each universe's last observed step";
  return `${screen.choice("value")} ${when}${others.length ? `; ${STATISTICS[screen.choice("stat")]} over ${others.join(", ")}` : ""}.`;
}

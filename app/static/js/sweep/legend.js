// A colour bar with limits that can be moved.

import { colours } from "../colormaps.js";
import { digits, html, nothing } from "../dom.js";

/** Shows a colour map over a range; `set(lo, hi)` gets new limits, "" for those of the values; `log` is null where there is none. */
export function legend({ map, range: [low, high], full, label, set, log = null, setLog = null }) {
  const rgb = colours(map);
  const stops = Array.from({ length: 17 }, (_, i) => {
    const k = 3 * Math.min(i * 16, 255);
    return `rgb(${rgb[k]} ${rgb[k + 1]} ${rgb[k + 2]})`;
  });
  const changed = low !== full[0] || high !== full[1];
  const limit = (name, value, change) => html`<input class="limit" type="number" step="any" aria-label="${name} limit of the colours" .value=${digits(value)}
    @change=${(event) => change(event.target.value)}>`;
  return html`<div class="legend">
    ${limit("Lower", low, (value) => set(value, changed ? high : ""))}
    <div class="ramp" .style=${`background:linear-gradient(90deg, ${stops.join(", ")})`} aria-hidden="true"></div>
    ${limit("Upper", high, (value) => set(changed ? low : "", value))}
    <span>${label}</span>
    ${log === null ? nothing : html`<button type="button" aria-pressed=${log} title="Colours by the logarithm of the value" @click=${() => setLog(!log)}>Log</button>`}
    ${changed ? html`<button type="button" class="link" @click=${() => set("", "")}>All values</button>` : nothing}</div>`;
}

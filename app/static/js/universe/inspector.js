// One cell: its values, and psi as phasors, one per channel.

import { decodeNpy } from "../frames.js";
import { get, send } from "../api.js";
import { mountChart } from "../charts.js";
import { digits, html, nothing, render, svg, whole } from "../dom.js";

const POINTS = 600; // of the chart over time
const R = 34; // of a phasor's circle

/** Reads "y,x" as a cell; null for anything else. */
export function readCell(text) {
  const found = /^(\d+),(\d+)$/.exec(text || "");
  return found ? { y: Number(found[1]), x: Number(found[2]) } : null;
}

/** Returns the channels [[re, im], …] of a cell in an array [H, W, d] of complex numbers. */
export function channelsOf({ shape: [, width, depth], data }, y, x) {
  const at = 2 * depth * (y * width + x);
  return Array.from({ length: depth }, (_, c) => [data[at + 2 * c], data[at + 2 * c + 1]]);
}

function phasor([re, im], channel, largest) {
  const size = Math.hypot(re, im), by = (R * 0.94) / (largest || 1), hue = ((Math.atan2(im, re) / Math.PI) * 180 + 360) % 360;
  const end = [re * by, -im * by];
  return html`<figure class="phasor"><svg viewBox="${-R - 2} ${-R - 2} ${2 * R + 4} ${2 * R + 4}" role="img"
      aria-label="channel ${channel}: ${digits(re)} + ${digits(im)} i">
    <circle r=${R} class="ring"></circle><path d="M${-R} 0H${R}M0 ${-R}V${R}" class="ring"></path>
    ${size > 0 ? svg`<line x2=${end[0]} y2=${end[1]} stroke="hsl(${hue} 75% 60%)" stroke-width="2.5"></line><circle cx=${end[0]} cy=${end[1]} r="3" fill="hsl(${hue} 75% 60%)"></circle>` : nothing}
    </svg><figcaption>ψ<sub>${channel}</sub></figcaption></figure>`;
}

/** Shows a cell in an element; {show(cell, step, value), hide}. `states` returns the kept states. */
export function mountInspector(element, { source, job, states, onClose, onStep }) {
  let turn = 0, chart = null, charted = "";

  /** Shows the values of the cell at all steps, with the cursor of the other charts. */
  async function overTime({ y, x }, step, field) {
    const place = element.querySelector(".over-time");
    if (!place) return;
    const key = `${y} ${x} ${field} ${source.steps(field).stop}`;
    if (key !== charted) {
      charted = key;
      chart?.destroy();
      chart = null;
      const { start, stop, stride } = source.steps(field);
      const thin = Math.max(1, Math.ceil((stop - start) / stride / POINTS));
      const { step: steps, ...columns } = await get(`v1/jobs/${job().id}/cells/${y}/${x}`, { field, stride: thin, lineage: source.joined(field) ? 1 : undefined });
      if (key !== charted || !place.isConnected) return;
      const found = await mountChart(place, { height: 84, names: Object.keys(columns), onStep });
      if (key !== charted || !place.isConnected) { found.destroy(); return; }
      chart = found;
      chart.set([steps, ...Object.values(columns)]);
    }
    chart?.mark(step);
  }

  /** Returns {array, step} of psi at or before a step; null if neither psi nor states were kept. */
  async function psi(step) {
    if (source.list.some((field) => field.name === "psi")) {
      const near = source.nearest("psi", step);
      if (near !== null && step - near < source.steps("psi").stride) return { array: await source.frame("psi", near), step: near };
    }
    const kept = states().filter((state) => state.step <= step).at(-1) || states()[0];
    if (!kept) return null;
    const key = `state ${kept.step}`;
    let array = source.cached("state", kept.step);
    if (!array) {
      array = { field: "state", step: kept.step, ...decodeNpy(await (await send(`v1/jobs/${job().id}/states/${kept.step}`)).arrayBuffer()) };
      source.keep(array, key);
    }
    return { array, step: kept.step };
  }

  return {
    async show({ y, x }, step, field, value) {
      const mine = ++turn;
      const draw = (body) => render(html`<div class="bar"><h3>Cell y ${y}, x ${x}</h3>
        <button type="button" class="link right" aria-label="Close the cell" @click=${onClose}>✕</button></div>
        <p class="small quiet">${field} = <b class="mono">${Array.isArray(value) ? value.map(digits).join(", ") : digits(value)}</b> at step ${whole(step)}</p>${body}<div class="over-time" title="${field} of this cell over the step"></div>`, element);
      draw(html`<p class="quiet small">reading ψ …</p>`);
      overTime({ y, x }, step, field).catch(() => null); // results that are gone are told elsewhere
      let found;
      try {
        found = await psi(step);
      } catch (error) {
        if (mine === turn) draw(html`<p class="error small">${error.message}</p>`);
        return;
      }
      if (mine !== turn) return;
      if (!found) return draw(html`<p class="quiet small">Record <code>psi</code> or keep states to see the channels of a cell.</p>`);
      const channels = channelsOf(found.array, y, x);
      const largest = Math.max(...channels.map(([re, im]) => Math.hypot(re, im)));
      draw(html`${found.step === step ? nothing : html`<p class="small quiet">ψ of the nearest kept state, step ${whole(found.step)}</p>`}
        <div class="phasors">${channels.map((pair, c) => phasor(pair, c, largest))}</div>
        <div class="scroll" tabindex="0" role="group" aria-label="Channels of the cell"><table class="channels"><thead><tr><th scope="col" title="channel">c</th><th scope="col" class="number">Re ψ</th><th scope="col" class="number">Im ψ</th>
          <th scope="col" class="number" title="|ψ_c|²">Power</th><th scope="col" class="number" title="atan2(Im ψ, Re ψ), in radians">Phase</th></tr></thead>
        <tbody>${channels.map(([re, im], c) => html`<tr><td>${c}</td><td class="number">${digits(re)}</td><td class="number">${digits(im)}</td>
          <td class="number">${digits(re * re + im * im)}</td><td class="number">${digits(Math.atan2(im, re))}</td></tr>`)}</tbody></table></div>`);
    },
    hide() { turn++; charted = ""; chart?.destroy(); chart = null; render(nothing, element); },
  };
}

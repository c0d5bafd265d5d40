// The bar of colours under the canvas, with limits to drag.

import { html, render } from "../vendor/lit-html/lit-html.js";
import { NAMES, colours } from "./colormaps.js";
import { digits } from "./numbers.js";

/**
 * Puts a colour bar into an element.
 * @param state {map, domain: [low, high] of the handles, range: [low, high], unit, rgb}; @param on {map(name), range(low, high), auto(), full()}.
 */
export function drawColourBar(element, state, on) {
  const [low, high] = state.domain, step = (high - low) / 500 || 1e-6;
  const set = (which) => (event) => {
    const value = Number(event.target.value);
    const [a, b] = state.range;
    on.range(which ? a : Math.min(value, b - step), which ? Math.max(value, a + step) : b);
  };
  const position = (value) => `${(100 * (value - low)) / (high - low || 1)}%`;
  render(html`<div class="colourbar" ?hidden=${state.rgb}>
    <span class="mono small end">${digits(state.range[0])}</span>
    <div class="gradient">
      <canvas width="256" height="1" aria-hidden="true"></canvas>
      <input type="range" aria-label="Lower limit of the colours" title="Lower limit" .min=${String(low)} .max=${String(high)} .step=${String(step)} .value=${String(state.range[0])} @input=${set(0)}>
      <input type="range" aria-label="Upper limit of the colours" title="Upper limit" .min=${String(low)} .max=${String(high)} .step=${String(step)} .value=${String(state.range[1])} @input=${set(1)}>
    </div>
    <span class="mono small end">${digits(state.range[1])} <span class="quiet">${state.unit === "1" ? "" : state.unit}</span></span>
    <select aria-label="Colour map" @change=${(e) => on.map(e.target.value)}>${NAMES.map((name) =>
      html`<option value=${name} ?selected=${name === state.map}>${name}</option>`)}</select>
    <button type="button" title="Limits of what is shown now (a)" @click=${on.auto}>Auto</button>
    <button type="button" title="The field's own range" @click=${on.full}>Full</button></div>`, element);
  const canvas = element.querySelector("canvas");
  const table = colours(state.map), pixels = new ImageData(256, 1);
  const [from, to] = state.range.map((value) => (255 * (value - low)) / (high - low || 1));
  for (let i = 0; i < 256; i++) {
    const row = 3 * Math.min(255, Math.max(0, Math.round((255 * (i - from)) / (to - from || 1))));
    pixels.data.set([table[row], table[row + 1], table[row + 2], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  element.querySelector(".gradient").style.setProperty("--low", position(state.range[0]));
}

// Takes the file of a universe, from this service or another, computes it again, and says whether every bit is the same.

import { bytes, html, nothing, render, short, whole } from "../dom.js";
import { reproduce } from "../reproduce/reproduce.js";

export function mount(element, route, app) {
  app.title("Reproduce a file");
  let state = {}, closed = false; // file, doing, job, found, error

  function set(changes) {
    state = changes.file ? changes : { ...state, ...changes };
    if (!closed) draw();
  }

  async function take(file) {
    if (!file || state.busy) return;
    set({ file, busy: true, doing: "reading" });
    try {
      const found = await reproduce(file, { say: (doing) => set({ doing }), onJob: (job) => set({ job }) });
      set({ found });
    } catch (error) {
      set({ error });
    }
    set({ busy: false });
  }

  function dropped(event) {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  }

  function draw() {
    const { file, busy, doing, job, found, error } = state;
    const all = found?.arrays.every(({ identical }) => identical);
    render(html`<div class="stack" @dragover=${(event) => event.preventDefault()} @drop=${dropped}>
      <h1>Reproduce a file</h1>
      <p>A universe exported as <b>Everything (.zip)</b>, here or on another service, is computed again with the same law, start and changes. Then all its frames and
        observables are compared, bit by bit.</p>
      <section class="panel stack"><label class="field"><span>File, or drop it here</span>
        <input type="file" accept=".zip,application/zip" ?disabled=${busy} @change=${(event) => take(event.target.files[0])}></label>
      ${file ? html`<p role="status">${file.name} <span class="quiet">${bytes(file.size)}</span>
        ${busy ? html` · ${doing}${job ? html`, step ${whole(job.step)} of ${short(job.steps)}` : nothing} …` : nothing}</p>` : nothing}
      ${error ? html`<p class="error" role="alert">${error.message}</p>` : nothing}</section>
      ${found ? html`<section class="panel stack" aria-label="Comparison">
        <h2 class=${all ? "state succeeded" : "state failed"}>${all ? "Every bit is the same" : "There are differences"}</h2>
        <p><a href=${`#/jobs/${found.job.id}`}>The new universe</a> reproduces <code>${found.original}</code>.
          ${found.laws.length ? html`The law came with the file: ${found.laws.map((ref) => html`<code>${ref.slice(0, ref.indexOf("@") + 9)}</code> `)}` : nothing}</p>
        <div class="scroll" tabindex="0" role="region" aria-label="Compared arrays"><table><thead><tr><th scope="col">Array</th><th scope="col">Kind</th><th scope="col" class="number">Steps</th><th scope="col">Result</th></tr></thead>
        <tbody>${found.arrays.map(({ name, kind, frames, identical, first }) => html`<tr><th scope="row"><code>${name}</code></th><td>${kind}</td><td class="number">${whole(frames)}</td>
          <td class=${identical ? "" : "error"}>${identical ? "identical" : first === null ? "of another length" : `differs from step ${whole(first)} on`}</td></tr>`)}</tbody></table></div></section>` : nothing}
    </div>`, element);
  }

  draw();
  return () => { closed = true; };
}

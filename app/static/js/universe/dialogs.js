// Dialogs of a universe: Fork here, Extend, Share, Export.

import { post, send } from "../api.js";
import { complain, confirm, copy, html, nothing, openDialog, toast, whole } from "../dom.js";
import { go } from "../router.js";
import { forkRequest, gammaAt, readGamma, stateBefore, writeGamma } from "./steering.js";

/** Returns a form's dialog: `send(values)` is called with its fields, and its error shown, until it succeeds. */
function ask(title, fields, action, send) {
  let error = "", busy = false;
  return openDialog(title, (close, draw) => {
    const submit = async (event) => {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(event.target));
      busy = true; error = ""; draw();
      try {
        close(await send(values));
      } catch (problem) {
        busy = false;
        error = problem.errors?.length ? problem.errors.map((one) => one.detail).join("; ") : problem.message;
        draw();
      }
    };
    return html`<form @submit=${submit}><h2>${title}</h2>${fields}
      ${error ? html`<p class="error" role="alert">${error}</p>` : nothing}
      <div class="buttons"><button class="primary" ?disabled=${busy}>${action}</button>
        <button type="button" @click=${() => close()}>Close</button></div></form>`;
  });
}

const select = (event) => event.target.select(); // what is typed replaces the value

/** Asks for what a fork changes, from a step on; goes to it. */
export async function fork(job, states, step) {
  const state = stateBefore(states, step);
  const from = state ? state.step : job.from_step;
  const why = from === step ? `The state of step ${whole(step)} is kept: the fork goes on from it.`
    : state ? `The fork goes on from the kept state of step ${whole(from)}; up to step ${whole(step)} it is the same universe, computed again.`
      : `No state is kept before step ${whole(step)}: the same universe is computed again from ${from ? `step ${whole(from)}` : "the start"}, and changes there.`;
  const made = await ask("Fork here", html`<p class="quiet">${why}</p>
    <label class="field">Gamma from step ${whole(step)} on <input name="gamma" autofocus required @focus=${select} .value=${String(gammaAt(job.spec.gamma, step))}
      title="a number, or “0.01, 500: 0.05”: values from a step on"></label>
    <label class="field">Steps (last step) <input name="steps" type="number" required .min=${String(step + 1)} .value=${String(step < job.steps ? job.steps : step + job.steps - job.from_step)}></label>`,
  "Fork", ({ gamma, steps }) => {
    const wanted = readGamma(gamma);
    const changed = wanted === gammaAt(job.spec.gamma, step) ? null : wanted;
    const { path, body } = forkRequest(job, states, step, { gamma: changed, steps: Number(steps) });
    return post(path, body);
  });
  if (made) { toast(`Forked at step ${whole(step)}`); go(`/jobs/${made.id}`); }
}

/** Asks how far a job is to go on; goes to its extension. */
export async function extend(job) {
  const made = await ask("Extend", html`<p class="quiet">The universe goes on from its last state with the same law, gamma and recordings, on the same clock.</p>
    <label class="field">Steps (last step) <input name="steps" type="number" autofocus required @focus=${select} .min=${String(job.step + 1)} .value=${String(job.step + Math.max(1, job.steps - job.from_step))}></label>
    <label class="field">Gamma <input name="gamma" required .value=${writeGamma(job.spec.gamma)} title="a number, or “0.01, 500: 0.05”"></label>`,
  "Extend", ({ steps, gamma }) => post(`v1/jobs/${job.id}/extend`, { steps: Number(steps), ...(gamma === writeGamma(job.spec.gamma) ? {} : { gamma: readGamma(gamma) }) }));
  if (made) { toast(`It goes on to step ${whole(made.steps)}`); go(`/jobs/${made.id}`); }
}

/** Asks for the name, note and tags of a job; returns the changed record. */
export const describe = (job) => ask("Name", html`<label class="field">Name <input name="name" autofocus maxlength="200" .value=${job.name || ""}></label>
    <label class="field">Note <textarea name="note" rows="4" maxlength="10000" .value=${job.note || ""}></textarea></label>
    <label class="field">Tags <input name="tags" placeholder="project=first-light, good=yes" .value=${Object.entries(job.tags).map((pair) => pair.join("=")).join(", ")}></label>`,
"Save", ({ name, note, tags }) => post(`v1/jobs/${job.id}`, { name: name.trim() || null, note: note.trim() || null, tags: Object.fromEntries(
  tags.split(",").map((tag) => tag.trim()).filter(Boolean).map((tag) => { const [key, ...value] = tag.split("="); return [key.trim(), value.join("=").trim()]; })) }, { method: "PATCH" }));

/** Asks whether to cancel a job; returns its record if it is. */
export async function cancel(base) {
  if (!await confirm("Cancel this universe? What is recorded stays; it can be extended.", "Cancel it")) return null;
  return post(`${base}/cancel`);
}

/** Asks whether to delete the results of a job, and goes to the wall if they are. */
export async function remove(base) {
  if (!await confirm("Delete the results of this universe? This cannot be undone.", "Delete them")) return;
  try { await send(base, { method: "DELETE" }); toast("Deleted"); go("/"); } catch (error) { complain(error); }
}

/** Makes a link for people without an account. */
export async function share(job) {
  const made = await ask("Share", html`<p class="quiet">Whoever has the link sees this universe, without an account, until the link expires.</p>
    <label class="field">Valid for <select name="days"><option value="1">1 day</option><option value="7" selected>7 days</option><option value="30">30 days</option></select></label>`,
  "Make a link", ({ days }) => post(`v1/jobs/${job.id}/links`, { ttl_s: 86400 * Number(days) }));
  if (!made) return;
  const [page, store] = [made.page, made.store].map((path) => new URL(path, location.origin).href);
  await openDialog("The link", (close) => html`<div class="stack"><h2>The link</h2>
    <label class="field">Page, for people <input readonly .value=${page} @focus=${(e) => e.target.select()}></label>
    <label class="field"><span>Data, for <code>xarray.open_zarr</code></span> <input readonly .value=${store} @focus=${(e) => e.target.select()}></label>
    <p class="small quiet">Valid until ${new Date(made.expires_at).toLocaleString()}.</p>
    <div class="buttons"><button type="button" class="primary" @click=${() => copy(page, "The link is copied")}>Copy the link</button>
      <button type="button" @click=${() => close()}>Close</button></div></div>`);
}

/** Offers the files of a job. */
export function exportFiles(job, base, field, { frames, step, joined = false, whole: file = true }) {
  const path = (format, more = "") => `${base}/frames/${encodeURIComponent(field)}?format=${format}${more}`;
  const stride = Math.max(1, Math.ceil(frames / 200));
  const link = (href, name, words) => html`<tr><td><a href=${href} download>${name}</a></td><td class="quiet">${words}</td></tr>`;
  return openDialog("Export", (close) => html`<div class="stack"><h2>Export</h2><div class="scroll" tabindex="0" role="group" aria-label="Files"><table><tbody>
    ${file && job.links?.export ? link(`${base}/export?format=zip`, "Everything (.zip)", "spec, law, frames, observables and provenance, to cite, and to reproduce with “Reproduce a file” or leym reproduce") : nothing}
    ${file && job.links?.export ? link(`${base}/export?format=nc`, "Everything (.nc)", "NetCDF4, for xarray, ncdump and Panoply") : nothing}
    ${field ? html`${link(path("webp", `&stride=${stride}`), `${field}.webp`, "animation")}
      ${joined ? link(path("webp", `&stride=${stride}&lineage=1`), `${field} of the lineage (.webp)`, "animation that begins with the jobs that it continues") : nothing}
      ${link(path("mp4", `&stride=${stride}`), `${field}.mp4`, "video, if the service has the extra for it")}
      ${link(path("gif", `&stride=${stride}`), `${field}.gif`, "animation for slides")}
      ${link(path("png", `&start=${step}&stop=${step + 1}`), `${field}, step ${step} (.png)`, "one picture with its provenance")}
      ${link(path("npz"), `${field}.npz`, "all frames as numbers, for NumPy")}` : nothing}
    ${job.spec.observe ? html`${link(`${base}/observables?format=csv`, "observables.csv", "one row per observed step")}
      ${link(`${base}/observables?format=csv&lineage=1`, "observables of the lineage (.csv)", "with the steps of the jobs that it continues")}` : nothing}
    </tbody></table></div>
    <label class="field"><span>Zarr, for <code>xarray.open_zarr</code></span> <input readonly .value=${new URL(`${base}/store.zarr`, document.baseURI).href} @focus=${(e) => e.target.select()}></label>
    <div class="buttons"><button type="button" @click=${() => close()}>Close</button></div></div>`);
}

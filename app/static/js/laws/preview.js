// A moving picture of a law: that of its bundle, else of a universe that somebody ran, else a button that runs one.

import { get, post } from "../api.js";
import { complain, html, lawName, nothing } from "../dom.js";

const seen = new Map(); // law -> address of a picture, "" for none, or the promise of it

/** Returns the address of an animation of a law; "" if there is none. */
export function pictureOf(law) {
  if (law.preview) return Promise.resolve(law.preview.replace(/^\//, ""));
  if (!seen.has(law.ref)) seen.set(law.ref, newest(law));
  return seen.get(law.ref);
}

async function newest(law) {
  const { items } = await get("v1/jobs", { law: law.name, state: "succeeded", limit: 10 });
  const job = items.find(({ spec }) => spec.record?.some(({ field }) => field !== "psi"));
  if (!job) return "";
  const { field } = job.spec.record.find((recording) => recording.field !== "psi");
  return `v1/jobs/${job.id}/frames/${field}?format=webp&last=60&fps=15`;
}

/** Returns a small universe of a law, for its picture. */
export function trial(law) {
  const side = Math.max(48, law.grid_multiple * Math.ceil(48 / law.grid_multiple));
  return { law: law.ref, grid: [side, side], steps: 300, record: [{ field: "phase", every: 5 }], observe: { every: 5 }, tags: { preview: law.name } };
}

/** Runs a small universe, so that the law has a picture. */
export async function runTrial(law, done) {
  try {
    const job = await post("v1/jobs", trial(law));
    await get(`v1/jobs/${job.id}`, { wait: 60, state: "queued" });
    const ended = await get(`v1/jobs/${job.id}`, { wait: 60, state: "running" });
    seen.delete(law.ref);
    done(ended);
  } catch (error) {
    complain(error);
  }
}

/** The picture of a law, with a link to `href` if there is one. `redraw` is called when it is known. */
export function preview(law, pictures, redraw, href = null) {
  const found = pictures.get(law.ref);
  if (found === undefined) {
    pictures.set(law.ref, null);
    pictureOf(law).then((address) => { pictures.set(law.ref, address); redraw(); }, () => pictures.set(law.ref, ""));
  }
  if (found) {
    const image = html`<img class="pixels" src=${found} alt="${lawName(law.name)}: an animation" loading="lazy" decoding="async">`;
    return href ? html`<a href=${href}>${image}</a>` : image;
  }
  if (found === "") {
    return html`<div class="no-picture"><button type="button" @click=${(event) => {
      event.target.disabled = true;
      event.target.textContent = "Running …";
      runTrial(law, () => { pictures.delete(law.ref); redraw(); });
    }}>Run a preview</button></div>`;
  }
  return html`<div class="no-picture quiet">${nothing}</div>`;
}

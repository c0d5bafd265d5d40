// One law: its picture, what it is, where it comes from, its verdicts, and its newest universes.

import { get, post } from "../api.js";
import { complain, confirm, copy, html, nothing, render, toast, whole } from "../dom.js";
import { address, go } from "../router.js";
import { preview } from "./preview.js";
import { verdictTable } from "./verdicts.js";

const FORMS = { additive: "ψ + y", diagonal: "ψ + y ψ", antisymmetric: "ψ + A(y) ψ" };
const bound = (constraint) => (typeof constraint === "string" ? { unit: "|ψ| = 1 in each cell", none: "none" }[constraint] : `every channel in [${constraint.box.join(", ")}]`);
const start = ({ kind, ...rest }) => `${kind}${Object.keys(rest).length ? ` (${Object.entries(rest).map(([key, value]) => `${key} ${JSON.stringify(value)}`).join(", ")})` : ""}`;

function origin({ recipe, drawn, ...rest }) {
  if (recipe) {
    const { objective, train } = recipe;
    const rows = [["Taught", [objective?.teacher || objective?.kind, objective?.preset].filter(Boolean).join(", ")],
      ["Training", `${whole(train?.updates)} updates, seed ${train?.seed ?? 0}`], ["Last loss", rest.last?.loss], ["Made by", rest.made_by], ["torch", rest.torch]];
    return rows.filter(([, value]) => value);
  }
  if (drawn) return [["Drawn", `random weights, seed ${drawn.seed}`]];
  return Object.entries(rest).map(([key, value]) => [key, typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

const facts = (rows) => html`<dl class="facts">${rows.map(([key, value]) => html`<div><dt>${key}</dt><dd>${value}</dd></div>`)}</dl>`;

export async function show(element, route, app) {
  let close = () => {};
  const open = async ({ id }) => {
    app.title(id);
    render(html`<p class="quiet" role="status">Reading ${id} …</p>`, element);
    const law = await get(`v1/laws/${encodeURIComponent(id)}`);
    const [verdicts, universes] = await Promise.all([get(`v1/laws/${law.ref}/fidelity`), get("v1/jobs", { law: law.name, limit: 12 })]);
    const pictures = new Map();
    const remove = async () => {
      if (!await confirm(`Remove the law ${law.name} with all of its versions?`, "Remove it")) return;
      await post(`v1/laws/${law.name}`, undefined, { method: "DELETE" }).then(() => { toast(`${law.name} is removed`); go("/laws"); }, complain);
    };
    const keep = () => post(`v1/laws/${law.ref}/keep`).then(() => { toast(`${law.name} is kept`); open({ id }); }, complain);
    const draw = () => render(html`<p class="small"><a href="#/laws">Laws</a></p>
      <div class="law"><div class="picture">${preview(law, pictures, draw)}</div>
        <div class="law-text"><h1>${law.name}</h1><p class="lead">${law.description}</p>
          <div class="buttons"><a class="button primary" href=${address("/new", { law: law.name })}>New universe with this law</a>
            ${law.temporary_until ? html`<button type="button" @click=${keep}>Keep this law</button>` : nothing}
            <button type="button" @click=${() => copy(law.ref, "The reference is copied")} title="name@digest: these exact weights">Copy reference</button>
            ${law.temporary_until ? html`<button type="button" class="danger" @click=${remove}>Remove</button>` : nothing}</div>
          ${law.temporary_until ? html`<p class="quiet">Drawn at random; it is removed after ${new Date(law.temporary_until).toLocaleString()} unless it is kept.</p>` : nothing}
          ${facts([["Network", `${law.architecture}, ${law.hidden_channels} channels wide`], ["Cell", `d = ${law.d_state} complex channels`], ["Update", FORMS[law.form] || law.form],
            ["Boundary", law.boundary], ["Constraint", bound(law.constraint)], ["Parameters", whole(law.parameters)], ["Starts from", start(law.start)],
            ["Sides divisible by", law.grid_multiple], ...(law.memory ? [["Memory", "the network has a state of its own"]] : []),
            ...(law.living ? [["Living mask", `channel ${law.living.channel} above ${law.living.above}`]] : []),
            ...Object.entries(law.options).filter(([name]) => name !== "padding").map(([name, value]) => [name, String(value)])])}</div></div>
      <section class="panel"><h2>Verdicts</h2>${verdictTable(law, verdicts.items)}</section>
      <section class="panel"><h2>Where it comes from</h2>${facts(origin(law.provenance))}
        <p class="small quiet">Versions: ${law.versions.map((ref) => html`<code>${ref.replace(/@(.{12}).*/, "@$1")}</code> `)}</p>
        <details><summary class="small">All of its provenance</summary><pre tabindex="0">${JSON.stringify(law.provenance, null, 1)}</pre></details></section>
      <section class="panel"><h2>Newest universes</h2>${universes.items.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Newest universes"><table><tbody>${universes.items.map((job) => html`<tr>
        <td><a class="mono" href=${`#/jobs/${job.id}`}>${job.spec.name || job.id}</a></td><td><span class="state ${job.state}">${job.state}</span></td>
        <td class="number">${whole(job.step)} of ${whole(job.steps)} steps</td><td>${job.spec.grid?.join(" × ")}</td></tr>`)}</tbody></table></div>` : html`<p class="quiet">None yet.</p>`}</section>`, element);
    draw();
    app.setKeys([["u", "New universe with this law", () => go("/new", { law: law.name })]]);
  };
  await open(route);
  close.update = (next) => open(next).catch(complain);
  return close;
}

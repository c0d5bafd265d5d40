// The gallery: a card with a moving picture for each law.

import { get } from "../api.js";
import { complain, html, nothing, render, whole } from "../dom.js";
import { address } from "../router.js";
import { preview } from "./preview.js";
import { chips } from "./verdicts.js";

export async function show(element, route, app) {
  app.title("Laws");
  render(html`<p class="quiet" role="status">Reading the laws …</p>`, element);
  const laws = (await get("v1/laws")).items;
  const verdicts = new Map();
  const pictures = new Map();
  let text = route.params.q || "";
  const draw = () => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (law) => words.every((word) => [law.name, law.description, law.architecture, law.boundary].join(" ").toLowerCase().includes(word));
    const kept = laws.filter((law) => !law.temporary_until && fits(law));
    const temporary = laws.filter((law) => law.temporary_until).length;
    render(html`<div class="panel-head"><h1>Laws</h1><span class="quiet">${kept.length} of ${laws.length - temporary}</span><span class="right"></span>
        <input id="filter" type="search" aria-label="Filter the laws" placeholder="Filter (/)" .value=${text} @input=${(event) => { text = event.target.value; draw(); }}>
        <a class="button primary" href=${address("/laws", { view: "draw" })} title="24 random laws on a wall: keep the good ones">Draw 24</a></div>
      ${temporary ? html`<p class="quiet small">${temporary} drawn laws wait to be kept or removed: <a href=${address("/laws", { view: "draw" })}>Draw 24</a>.</p>` : nothing}
      <div class="cards">${kept.map((law) => html`<article class="card">
        <div class="picture">${preview(law, pictures, draw, `#/laws/${law.name}`)}</div>
        <div class="card-text"><h2><a href=${`#/laws/${law.name}`}>${law.name}</a></h2><p class="quiet">${law.description || nothing}</p>
          <p class="chips"><span class="chip">${law.architecture}</span><span class="chip" title="complex channels of a cell">d ${law.d_state}</span>
            <span class="chip">${law.boundary}</span><span class="chip" title="weights">${whole(law.parameters)}</span>${chips(verdicts.get(law.ref))}</p>
          <a class="button" href=${address("/new", { law: law.name })}>New universe with this law</a></div></article>`)}</div>
      ${kept.length ? nothing : html`<p class="empty">No law fits “${text}”.</p>`}`, element);
  };
  draw();
  app.setKeys([["/", "Filter", () => element.querySelector("#filter").focus()], ["d", "Draw 24", () => { location.hash = address("/laws", { view: "draw" }); }]]);
  Promise.all(laws.filter((law) => !law.temporary_until).map(async (law) => verdicts.set(law.ref, (await get(`v1/laws/${law.ref}/fidelity`)).items))).then(draw, complain);
  return () => {};
}

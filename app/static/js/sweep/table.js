// The table of members: filtered and sorted by the service, page by page.

import { send } from "../api.js";
import { digits, html, nothing, render, whole } from "../dom.js";
import { labelled } from "./data.js";

const PAGE = 50;

/** Splits a filter as people write it, `gamma<0.5 state=failed`, into conditions. */
export const conditions = (text) => text.split(/[\s,]+(?=[^<>=!]+[<>=!])/).map((part) => part.trim()).filter(Boolean);

export class MemberTable {
  constructor(element, screen) {
    Object.assign(this, { element, screen, filter: "", sort: "", descending: false, items: [], next: null, error: "" });
  }

  async load(cursor = null) {
    const query = new URLSearchParams({ limit: PAGE });
    for (const condition of conditions(this.filter)) query.append("filter", condition);
    if (this.sort) { query.set("sort", this.sort); query.set("descending", this.descending); }
    if (cursor) query.set("cursor", cursor);
    if (this.screen.params.window) query.set("window", this.screen.params.window);
    try {
      const page = await (await send(`${this.screen.base}/table?${query}`)).json();
      this.items = cursor ? this.items.concat(page.items) : page.items;
      this.next = page.next;
      this.error = "";
    } catch (error) {
      this.error = error.message;
    }
    this.draw();
  }

  by(column) {
    this.descending = this.sort === column ? !this.descending : false;
    this.sort = column;
    this.load();
  }

  draw() {
    const { screen, items } = this;
    const keys = Object.keys(screen.sweep.spec.axes || {});
    const points = Object.fromEntries(keys.map((key) => [key, labelled(items.map(({ point }) => (typeof point[key] === "object" ? JSON.stringify(point[key]) : point[key])))]));
    const names = screen.observables;
    const head = (column, words = column, number = false) => html`<th scope="col" class=${number ? "number" : ""}
      aria-sort=${this.sort === column ? (this.descending ? "descending" : "ascending") : "none"}>
      <button type="button" class="link" @click=${() => this.by(column)}>${words}${this.sort === column ? (this.descending ? " ↓" : " ↑") : ""}</button></th>`;
    render(html`<div class="panel-head"><h2>Members</h2><span class="right"></span>
        <label class="field grow">Filter <input id="table-filter" type="search" placeholder="gamma<0.3 state=succeeded" .value=${this.filter}
          @change=${(event) => { this.filter = event.target.value; this.load(); }}></label></div>
      ${this.error ? html`<p class="error" role="alert">${this.error}</p>` : nothing}
      <div class="scroll" tabindex="0" role="region" aria-label="Members"><table><thead><tr><th scope="col">Universe</th>${head("state", "State")}${head("step", "Step", true)}
        ${keys.map((key) => head(["steps", "index", "id", "state", "step", "error"].includes(key) ? `axis.${key}` : key, key, true))}${names.map((name) => head(name, name, true))}</tr></thead>
      <tbody>${items.map((item, i) => html`<tr><td><a class="mono" href=${screen.isShared ? nothing : `#/jobs/${item.id}`}>${item.id.slice(-6)}</a></td>
        <td><span class="state ${item.state}">${item.state}</span></td><td class="number">${whole(item.step)}</td>
        ${keys.map((key) => html`<td class="number">${points[key][i]}</td>`)}
        ${names.map((name) => html`<td class="number">${digits(item.observables[name] ?? NaN)}</td>`)}</tr>`)}</tbody></table></div>
      ${items.length ? nothing : html`<p class="quiet">No member meets the filter.</p>`}
      ${this.next ? html`<button type="button" @click=${() => this.load(this.next)}>Show more</button>` : nothing}`, this.element);
  }
}

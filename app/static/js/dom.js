// What every screen needs of the document: templates, dialogs, messages, style sheets. With words for numbers, of numbers.js.

import { html, nothing, render, svg } from "../vendor/lit-html/lit-html.js";

export { bytes, digits, duration, short, whole } from "./numbers.js";
export { html, nothing, render, svg };

export const $ = (id) => document.getElementById(id);

/** Returns a law's name without its digest. */
export const lawName = (law) => String(law || "").split("@")[0];

const sheets = new Map();

/** Loads a style sheet of css/, once; resolves when it applies. */
export function stylesheet(name) {
  if (!sheets.has(name)) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(`../css/${name}.css`, import.meta.url).href;
    sheets.set(name, new Promise((resolve) => { link.onload = link.onerror = resolve; }));
    document.head.append(link);
  }
  return sheets.get(name);
}

/** Shows a short message, with `undo` as a button if it is given. Errors stay until they are closed. */
export function toast(text, { bad = false, undo = null, label = "Undo" } = {}) {
  const box = document.createElement("div");
  box.className = bad ? "toast bad fades" : "toast fades";
  const close = () => box.remove();
  render(html`<span>${text}</span>
    ${undo ? html`<button type="button" @click=${() => { close(); undo(); }}>${label}</button>` : nothing}
    <button type="button" class="link" aria-label="Close this message" @click=${close}>✕</button>`, box);
  $("toasts").append(box);
  if (!bad) setTimeout(close, undo ? 12000 : 5000);
}

/** Shows the error of an action as a message. */
export const complain = (error) => toast(error.message || String(error), { bad: true });

/** Opens a dialog with `template(close)`; resolves with what `close(value)` is given, undefined if it is dismissed. */
export function openDialog(title, template) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", title);
  let result;
  const close = (value) => { result = value; dialog.close(); };
  const draw = () => render(template(close, draw), dialog);
  draw();
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => { dialog.remove(); resolve(result); }));
}

/** Asks before an action that cannot be undone; resolves with true or false. */
export function confirm(question, action) {
  return openDialog(question, (close) => html`<div class="stack"><h2>${question}</h2>
    <div class="buttons"><button type="button" class="danger" @click=${() => close(true)}>${action}</button>
      <button type="button" autofocus @click=${() => close(false)}>Keep it</button></div></div>`).then(Boolean);
}

/** Copies text; says so. */
export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast(what);
  } catch { // no permission, or no secure context: the person copies it
    await openDialog("Copy", (close) => html`<div class="stack"><h2>Copy this</h2><pre tabindex="0">${text}</pre>
      <div class="buttons"><button type="button" @click=${() => close()}>Close</button></div></div>`);
  }
}

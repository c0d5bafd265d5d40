// Starts the page: session, router, health strip, keys. Screens are loaded when they are first shown.

import { get, post, send, signIn } from "./api.js";
import { $, complain, html, nothing, openDialog, render } from "./dom.js";
import { watchHealth } from "./health.js";
import { go, route } from "./router.js";

const SCREENS = ["observatory", "universe", "newuniverse", "sweep", "compare", "laws", "operate", "reproduce", "shared"];
const KEYS = [
  ["n", "New universe", () => go("/new")], ["g", "Observatory", () => go("/")], ["l", "Laws", () => go("/laws")],
  ["o", "Operate", () => go("/operate")], ["?", "Show the keys", () => showKeys()],
];

const THEMES = ["dark", "light", "system"];

let unmount = null;
let shown = ""; // screen and id that are mounted
let turn = 0; // of the newest change: a slower, older one gives up
let keys = []; // of the screen: [[key, words, action]]

/** What screens get: `app.setKeys([[key, words, action], …])`, `app.title(text)`, `app.session`. */
export const app = {
  session: null,
  setKeys: (list) => { keys = list; },
  title: (text) => { document.title = text ? `${text} · Ley M` : "Ley M"; },
};

async function show() {
  const here = route();
  const name = [here.screen, here.id, here.member].join("/");
  if (name === shown && unmount?.update) return unmount.update(here); // another parameter: the screen follows it itself
  const mine = ++turn;
  let mount;
  try {
    if (!SCREENS.includes(here.screen)) throw new Error(`there is no view ${location.hash}`);
    ({ mount } = await import(`./screens/${here.screen}.js`));
  } catch (error) {
    mount = (element) => render(html`<div class="empty"><h1>Nothing here</h1><p>${error.message}</p>
      <a class="button" href="#/">Observatory</a></div>`, element);
  }
  if (mine !== turn) return;
  if (unmount) unmount();
  unmount = null;
  keys = [];
  shown = name;
  app.title("");
  const view = document.createElement("div");
  view.className = `screen ${here.screen}`;
  $("view").replaceChildren(view);
  for (const link of $("screens").children) {
    if (link.dataset.screen === here.screen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    const done = await mount(view, here, app);
    if (mine === turn) unmount = done || null;
    else done?.();
  } catch (error) {
    if (mine === turn) render(html`<div class="empty"><h1>This view cannot be shown</h1><p class="error">${error.message}</p>
      <a class="button" href="#/">Observatory</a></div>`, view);
  }
}

function showKeys() {
  openDialog("Keys", (close) => html`<div class="stack"><h2>Keys</h2><table><tbody>${[...KEYS, ...keys].map(([key, words]) =>
    html`<tr><td><kbd>${key === " " ? "space" : key}</kbd></td><td>${words}</td></tr>`)}</tbody></table>
    <div class="buttons"><button type="button" @click=${() => close()}>Close</button></div></div>`);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=range]):not([type=checkbox]), select, textarea")) return;
  if (event.key === " " && event.target.closest("button, a, summary")) return;
  const found = [...keys, ...KEYS].find(([key]) => key === event.key);
  if (!found) return;
  event.preventDefault();
  found[2](event);
});

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await post("v1/session", { token: $("token").value.trim() });
    location.reload();
  } catch {
    $("refused").hidden = false;
  }
});
$("keys").addEventListener("click", showKeys);
$("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]));

const theme = () => document.documentElement.dataset.theme || THEMES[0];

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
  try { localStorage.setItem("theme", name); } catch { /* a browser that keeps nothing */ }
}

/** Shows project and sign-out, or nothing for a service without tokens. */
async function showSession() {
  try {
    app.session = await get("v1/session");
  } catch (error) {
    if (error.status !== 401) complain(error);
    return;
  }
  const { project, token } = app.session;
  const leave = async () => { await send("v1/session", { method: "DELETE" }); location.reload(); };
  render(html`<span class="quiet" title="Jobs, sweeps and laws of this project are shown">project <b>${project}</b></span>
    ${token ? html`<button type="button" @click=${signIn}>Switch</button><button type="button" @click=${leave}>Sign out</button>` : nothing}`, $("session"));
}

try { setTheme(localStorage.getItem("theme") || THEMES[0]); } catch { setTheme(THEMES[0]); }
/** Shows what a shared link shows, without an account: nothing is asked but what the link opens. */
function visit() {
  document.documentElement.classList.add("visitor");
  addEventListener("hashchange", () => { if (route().screen !== "shared") location.reload(); });
}

const link = /\/s\/([^/]+)\/?$/.exec(location.pathname)?.[1];
if (link && route().screen !== "shared") location.replace(`${location.pathname}#/shared/${link}`);
addEventListener("hashchange", show);
show();
if (route().screen === "shared") visit();
else {
  watchHealth();
  showSession();
}

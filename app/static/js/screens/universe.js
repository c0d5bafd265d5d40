import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("universe");
  render(html`<h1>universe</h1>`, element);
  return () => {};
}

import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("sweep");
  render(html`<h1>sweep</h1>`, element);
  return () => {};
}

import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("observatory");
  render(html`<h1>observatory</h1>`, element);
  return () => {};
}

import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("newuniverse");
  render(html`<h1>newuniverse</h1>`, element);
  return () => {};
}

import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("shared");
  render(html`<h1>shared</h1>`, element);
  return () => {};
}

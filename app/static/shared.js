// Opens the screen of a shared link at the address /s/LINK, before the page's own scripts look at the address.

const link = document.querySelector('meta[name="leym-link"]');
if (link && !location.hash) {
  // with the path, since the base of the document is another folder
  history.replaceState(null, "", `${location.pathname}#/shared/${encodeURIComponent(link.content)}`);
}

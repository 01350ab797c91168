/* Tables that scroll can be reached with the keyboard; the theme wraps them after the page has loaded. */
addEventListener("load", () => {
  const reach = () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((wrap) => (wrap.tabIndex = 0));
  reach();
  new MutationObserver(reach).observe(document.body, { childList: true, subtree: true });
});

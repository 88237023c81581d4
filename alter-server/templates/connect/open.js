(function () {
  "use strict";
  const part = (id) => document.getElementById(id);
  const token = new URLSearchParams(window.location.hash.slice(1)).get("session");
  // Out of the address before anything else happens: not in the history, not on a screenshot.
  // As a whole address: the widget's path may begin with two slashes, and would be read as a host.
  window.history.replaceState(null, "", window.location.origin + window.location.pathname);
  // Another link, put into the address of this page, loads nothing by itself.
  window.addEventListener("hashchange", function () { window.location.reload(); });

  function fail(title, text, again) {
    const heading = document.querySelector("h1");
    heading.textContent = title;
    heading.tabIndex = -1;
    document.title = title;
    part("opening-wait").hidden = true;
    part("opening-failed").hidden = false;
    part("opening-text").textContent = text;
    part("opening-again").hidden = !again;
    heading.focus();
  }

  async function open() {
    part("opening-wait").hidden = false;
    part("opening-failed").hidden = true;
    let told;
    try {
      const answer = await fetch(part("opening").dataset.open, {
        method: "POST",
        body: new URLSearchParams({ session: token }),
        credentials: "same-origin",
        redirect: "error",
      });
      told = await answer.json();
      if (typeof told.next !== "string" && typeof told.title !== "string") throw new Error("unexpected");
      if (told.next) { window.location.replace(told.next); return; }
      fail(told.title, told.text, answer.status >= 500);
    } catch (_) {
      fail("Not possible at the moment", "The service did not answer. Nothing was changed.", true);
      return;
    }
    if (told.deliver) alterDeliver(told.deliver, token.slice(3, 46));
  }

  part("again").addEventListener("click", open);
  if (token) open();
  else fail("This page needs a link", "It was opened without one, or loaded again. Go back to the application and start again there.", false);
})();

(function () {
  "use strict";
  const page = document.getElementById("leaving");
  const link = document.getElementById("provider-link");
  // Nobody opened this window, so there is no tie that the provider could cut.
  if (!("ownWindow" in page.dataset) || !window.opener) {
    link.removeAttribute("target");
    window.location.replace(link.href);
    return;
  }
  let gone = false;
  function goOn() {
    if (gone) return;
    gone = true;
    window.location.replace(page.dataset.session);
  }
  link.addEventListener("click", function (event) {
    event.preventDefault();
    const opened = window.open(link.href, "alter_provider", "width=500,height=700,resizable=yes,scrollbars=yes");
    if (opened === null) { window.location.assign(link.href); return; }
    document.getElementById("leaving-text").textContent = "Finish in the other window. This page goes on by itself.";
  });
  const channel = new BroadcastChannel(page.dataset.channel);
  channel.addEventListener("message", function (message) {
    if (message.data !== "back") return;
    channel.postMessage("heard");
    goOn();
  });
  window.setInterval(async function () {
    try {
      const answer = await fetch(page.dataset.status, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) return;
      const told = await answer.json();
      if (String(told.version) !== page.dataset.version) goOn();
    } catch (_) { /* looked at again */ }
  }, 3000);
})();

// Tells the application how it ended: its window, if one opened this page, else its address. Once.
function alterDeliver(delivery, once) {
  "use strict";
  const key = "alter-delivered:" + once;
  let told = false;
  try { told = sessionStorage.getItem(key) !== null; sessionStorage.setItem(key, "1"); } catch (_) { /* no storage */ }
  if (window.opener && delivery.origin) {
    if (!told) window.opener.postMessage(delivery.message, delivery.origin);
    return "told";
  }
  if (delivery.return_url && !window.opener) {
    window.location.replace(delivery.return_url);
    return "left";
  }
  return "nobody";
}

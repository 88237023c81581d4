// The Connect button with the npm widget: the backend makes the session, the widget opens it in a popup.
"use strict";
const widget = AlterConnect.create();
const said = document.getElementById("popup-said");

async function connect(provider) {
  const answer = await fetch("/connect/popup", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ provider }),
  });
  if (!answer.ok) throw new Error("The shop could not begin. Please try again.");
  const { token, baseURL } = await answer.json();
  await widget.open({
    token,
    baseURL,
    // What is connected, the vault knows: the page shows it after it is loaded again.
    onSuccess: () => location.assign("/"),
    onError: (error) => { said.textContent = `Nothing was connected: ${error.message}`; },
    onExit: () => { said.textContent = "Nothing was connected."; },
  });
}

for (const button of document.querySelectorAll("button.popup")) {
  button.addEventListener("click", () => {
    connect(button.dataset.provider).catch((error) => { said.textContent = error.message; });
  });
}

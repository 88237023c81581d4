// What a host application does with the widget, and a log of everything that it hears.
const heard = [];
function log(kind, value) {
  heard.push({ kind, value });
  const line = document.createElement("li");
  line.dataset.kind = kind;
  line.textContent = `${kind} ${JSON.stringify(value ?? null)}`;
  document.getElementById("log").append(line);
}
window.heard = heard;

// The widget reads and wipes the result of a redirect in create(), before anybody can listen: read it first.
const query = new URLSearchParams(location.search);
if (query.has("alter_connect_success") || query.has("alter_connect_error")) log("returned", Object.fromEntries(query));

window.addEventListener("message", ({ origin, data }) => log("message", { origin, data }));

const widget = AlterConnect.create();
for (const event of ["success", "error", "exit", "close"]) widget.on(event, (value) => log(`on ${event}`, value));
window.widget = widget;

document.getElementById("connect").addEventListener("click", async () => {
  const { token, baseURL } = await (await fetch(`${location.pathname}/session`)).json();
  try {
    await widget.open({
      token,
      baseURL,
      onSuccess: (grants) => log("success", grants),
      onError: (error) => log("error", error),
      onExit: () => log("exit"),
      onEvent: (name, details) => log("event", { name, details }),
    });
  } catch (error) {
    log("rejected", { code: error.code, message: error.message });
  }
});

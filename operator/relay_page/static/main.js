// The page: a token, then the cluster, live.

import { Detail } from "./detail.js";
import { el, fill, say } from "./dom.js";
import { follow } from "./feed.js";
import { Gpus } from "./gpus.js";
import { Jobs } from "./jobs.js";
import { session } from "./session.js";
import { Store } from "./store.js";

const FORBIDDEN = 403;
const CLOCK = 10000; // what only time changes is redrawn this often, in milliseconds
const byId = (id) => document.getElementById(id);
const store = new Store();
const detail = new Detail();
const jobs = new Jobs();
const gpus = new Gpus(({ namespace, name }) => { location.hash = `#/${namespace}/${name}`; });
let stop = new AbortController();
let due = false;

function chosen() {
  const [, namespace, name] = location.hash.match(/^#\/([a-z0-9-]+)\/([a-z0-9-]+)$/) ?? [];
  return name ? `${namespace}/${name}` : "";
}

function draw() {
  due = false;
  if (!store.complete) return;
  const open = chosen();
  document.body.classList.toggle("open", open !== "");
  byId("cluster").setAttribute("aria-busy", "false");
  gpus.draw(store);
  jobs.draw(store, open);
  detail.draw(open, open ? store.job(...open.split("/")) : undefined);
  fill(byId("notices"), [store.trouble, store.hidden].filter(Boolean).map((text) => el("p", { class: "notice" }, text)));
}

function soon() {
  if (!due) { due = true; requestAnimationFrame(draw); }
}

function link(state, text) {
  byId("link").className = `link ${state}`;
  say(byId("link"), text);
}

function show(entered) {
  byId("entry").hidden = entered;
  byId("cluster").hidden = !entered;
  byId("leave").hidden = !entered;
  say(byId("scope"), entered ? session.namespace ? `namespace ${session.namespace}` : "all namespaces" : "");
  if (entered) return;
  link("", "");
  byId("token").value = session.token;
  byId("namespace").value = session.namespace;
  byId(session.token ? "namespace" : "token").focus();
}

/** Show the form again; `keep` is true where the token is good and lacks a right, such as for all namespaces. */
function ask(message, keep) {
  stop.abort();
  store.clear();
  if (!keep) { session.leave(); gpus.forget(); }
  byId("refused").hidden = !message;
  say(byId("refused"), message);
  show(false);
}

function begin() {
  stop = new AbortController();
  show(true);
  link("", "connecting");
  follow({
    live: () => { store.clear(); link("live", "live"); },
    away: (message) => { store.away = true; link("away", `${message} Trying again.`); },
    refused: (error) => ask(error.message, error.status === FORBIDDEN),
    event: (name, data) => { store.take(name, data); soon(); },
  }, stop.signal);
}

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  session.enter(byId("token").value, byId("namespace").value);
  begin();
});
byId("leave").addEventListener("click", () => ask("", false));
addEventListener("resize", soon);
addEventListener("hashchange", () => { if (location.hash !== "#jobs") soon(); });
addEventListener("keydown", (event) => {
  if (byId("cluster").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); jobs.find(); }
  if (event.key === "Escape" && chosen()) close();
});

function close() {
  const was = chosen();
  location.hash = "#/";
  const row = [...document.querySelectorAll("#rows a")].find((each) => each.getAttribute("href") === `#/${was}`);
  row?.focus();
}

byId("starting").remove();
setInterval(soon, CLOCK);
if (session.token) begin();
else show(false);

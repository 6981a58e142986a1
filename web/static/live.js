// Keeps a live page as it is now: the server pushes blocks of HTML that changed, and pictures of new parts.
// What is not heard of for a while is said to be old: a wall that stands still must not look like a line that runs.

const STALE_MS = 10_000;
const AGAIN_MS = 5_000;

const page = document.getElementById("live");
const state = document.getElementById("state");
const trouble = document.getElementById("trouble");
const pictures = new Map();
let aheadMs = Date.now() - 1000 * Number(page.dataset.at); // of this clock, which may be wrong
let lookedAt = Date.now(); // as of when the page is what the lines are
let isLive = false;
let source = null;
let again = null;

function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const [minutes, hours, days] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${s} s`;
}

function writeAges(root) {
  const now = Date.now() - aheadMs;
  for (const one of root.querySelectorAll("time.age")) {
    const text = age((now - Date.parse(one.dateTime)) / 1000);
    if (one.textContent !== text) one.textContent = text;
  }
}

// Turn `old` into `fresh`, leaving alone what is the same: pictures don't flicker, and the focus stays.
function become(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || !fresh.querySelector("[data-key]")) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  fill(old, fresh);
}

function fill(old, fresh) {
  const wanted = [...fresh.children];
  if (!wanted.length) {
    old.replaceChildren(...fresh.childNodes);
    return;
  }
  const known = new Map();
  for (const child of old.children) known.set(child.dataset.key ?? child.nodeName, child);
  let place = old.firstElementChild;
  for (const child of wanted) {
    const same = known.get(child.dataset.key ?? child.nodeName);
    if (same === undefined) {
      old.insertBefore(child, place);
      continue;
    }
    known.delete(child.dataset.key ?? child.nodeName);
    if (same === place) place = place.nextElementSibling;
    else old.insertBefore(same, place);
    become(same, child);
  }
  for (const gone of known.values()) gone.remove();
}

function show(news) {
  if (news.trouble === null) {
    isLive = true;
    lookedAt = Date.now();
    aheadMs = lookedAt - 1000 * news.at;
  }
  trouble.hidden = news.trouble === null;
  trouble.textContent = news.trouble ?? "";
  for (const [id, url] of Object.entries(news.pictures)) pictures.set(id, url);
  for (const [name, html] of Object.entries(news.blocks)) {
    const old = page.querySelector(`[data-block="${name}"]`);
    const holder = document.createElement("template");
    holder.innerHTML = html;
    for (const image of holder.content.querySelectorAll("img[data-picture]")) {
      image.src = pictures.get(image.dataset.picture) ?? "";
    }
    writeAges(holder.content);
    fill(old, holder.content);
  }
  forget();
  say();
}

function forget() {
  if (pictures.size < 100) return;
  const shown = new Set([...page.querySelectorAll("img[data-picture]")].map((one) => one.dataset.picture));
  for (const id of pictures.keys()) if (!shown.has(id)) pictures.delete(id);
}

function say() {
  const oldMs = Date.now() - lookedAt;
  const isStale = oldMs > STALE_MS;
  page.classList.toggle("stale", isStale);
  let text = isLive ? "live" : "connecting …";
  if (isStale) text = `▲ Not live: as it was ${age(oldMs / 1000)} ago`;
  if (state.textContent !== text) state.textContent = text;
}

// A browser comes back by itself when the connection breaks, but not when it is refused.
async function refused() {
  stop();
  again = setTimeout(start, AGAIN_MS * (1 + Math.random()));
  try {
    const answer = await fetch(location.href, { method: "HEAD", redirect: "manual", headers: { Accept: "text/html" } });
    if (answer.type === "opaqueredirect" || answer.status === 401) location.reload(); // to the login
  } catch {
    // The server is away; the next start finds out whether it is back.
  }
}

function start() {
  stop();
  source = new EventSource(page.dataset.events);
  source.addEventListener("message", (message) => show(JSON.parse(message.data)));
  source.addEventListener("ended", () => location.reload());
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) refused();
  });
}

function stop() {
  clearTimeout(again);
  source?.close();
  source = null;
}

// A page that nobody sees takes none of the few connections that a browser makes to a server.
document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
addEventListener("pagehide", stop);
addEventListener("pageshow", (shown) => shown.persisted && start());
setInterval(() => {
  writeAges(page);
  say();
}, 1000);
if (!document.hidden) start();

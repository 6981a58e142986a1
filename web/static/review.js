// Reviewing by keyboard: one key for each verdict, a digit for the reason. On the queue's page the next part,
// with its pictures, is fetched while somebody looks at this one, so that it is there at once.

const API = "/api/v1";
const form = () => document.querySelector("form.review");
const part = () => document.querySelector("#part[data-id]");
let chosen = null; // the verdict that waits for its reason or password
let busy = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || busy) return;
  const typing = event.target.closest("input:not([type=radio]), select, textarea");
  if (event.key === "Escape") return neverMind();
  if (typing) {
    if (event.key === "Enter" && chosen && form()?.contains(typing)) {
      event.preventDefault();
      say(chosen);
    }
    return;
  }
  const named = document.querySelector(`[aria-keyshortcuts="${CSS.escape(event.key.toUpperCase())}"]`);
  if (event.key.toLowerCase() === "w" && form()) {
    event.preventDefault();
    form().elements.reason.focus();
  } else if (named && !(event.repeat && named.name === "verdict")) {
    event.preventDefault();
    press(named);
  }
});

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("form.review button[name=verdict], [data-way]");
  if (!pressed || event.ctrlKey || event.metaKey || event.shiftKey || pressed.dataset.way === "open") return;
  if (pressed.dataset.way === "leave") return;
  if (pressed.name === "verdict" || part() || document.querySelector("#part")) {
    event.preventDefault();
    press(pressed);
  }
});

document.addEventListener("change", (event) => {
  if (event.target.name === "reason_code" && chosen && form()?.contains(event.target)) say(chosen);
});

function press(named) {
  if (busy) return;
  if (named.name === "verdict") return say(named.value);
  if (named.name === "reason_code") {
    named.checked = true;
    return chosen ? say(chosen) : undefined;
  }
  const way = named.dataset.way;
  if (way === "skip") return skip();
  if (way === "back" || way === "undo") return back(way, named.href);
  location.href = named.href;
}

// What a verdict still lacks is asked for; when all is there, it is said.
function say(verdict) {
  const fields = form().elements;
  chosen = verdict;
  for (const button of form().querySelectorAll("button[name=verdict]")) {
    button.toggleAttribute("data-chosen", button.value === verdict);
  }
  const code = fields.reason_code ? new FormData(form()).get("reason_code") : null;
  if (verdict === "overrule" && !code) {
    return tell("Overrule: choose the reason by its digit. Esc: never mind.");
  }
  if (code === "other" && !fields.reason.value.trim()) {
    fields.reason.focus();
    return tell("Say the reason in words, then press Enter.");
  }
  if (verdict === "overrule" && form().dataset.signs === "must" && !fields.password.value) {
    fields.password.focus();
    return tell("Give your password, to sign; then press Enter.");
  }
  chosen = null;
  if (part()) return send(verdict, code);
  const button = form().querySelector(`button[name=verdict][value="${verdict}"]`);
  busy = true;
  form().requestSubmit(button);
}

function neverMind() {
  chosen = null;
  if (!form()) return;
  document.activeElement?.blur();
  form().reset();
  for (const button of form().querySelectorAll("[data-chosen]")) button.removeAttribute("data-chosen");
  tell("");
}

function tell(sentence) {
  const told = document.querySelector("#told") ?? form()?.querySelector(".said");
  if (told) told.textContent = sentence;
}

// From here on: the queue.

const trail = []; // what was shown before: id, and whether it was reviewed
let ahead = null; // what comes next: {address, document}, fetched and claimed already
let lastSign = Date.now(); // of somebody who looks

function headers() {
  return { "X-Form-Token": document.querySelector("#part").dataset.token, Accept: "application/json" };
}

async function send(verdict, code) {
  const fields = form().elements;
  const now = part();
  const document_ = {
    verdict,
    reason_code: code || null,
    reason: fields.reason.value.trim() || null,
    password: fields.password?.value || null,
    known: fields.known.value || null,
  };
  busy = true;
  try {
    const answer = await fetch(`${API}/inspections/${now.dataset.id}/reviews`, {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json" },
      body: JSON.stringify(document_),
    });
    if (answer.ok) {
      trail.push({ id: now.dataset.id, said: verdict });
      now.dataset.done = "";
      await step(`${now.dataset.name}: ${verdict}, saved.`);
    } else {
      await refused(answer, fields, verdict);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    alarm("Not saved: the server could not be reached. Press the key again.");
  } finally {
    busy = false;
  }
}

async function refused(answer, fields, verdict) {
  const problem = await answer.json().catch(() => ({}));
  if (fields.password) fields.password.value = "";
  const said = problem.detail ?? `Not saved (${answer.status}).`;
  if (problem.reviews?.length) {
    fields.known.value = problem.reviews.at(-1).id;
    const lines = problem.reviews.map((one) => {
      const why = [one.reason_code?.replaceAll("_", " "), one.reason].filter(Boolean).join(": ");
      return `${one.reviewer} said ${one.verdict}${why ? ` (${why})` : ""}.`;
    });
    return alarm(`Reviewed meanwhile, and yours is not taken yet. ${lines.join(" ")} Press the key again to add yours, or S.`);
  }
  if (answer.status === 404 || answer.status === 410) return step(said);
  if (answer.status === 401) return alarm(`${said} Your review was not saved: log in again in another window, then press the key again.`);
  alarm(said);
  chosen = verdict; // Enter says it again
  if (answer.status === 403) fields.password?.focus();
}

function alarm(sentence) {
  tell("");
  form().querySelector(".said").textContent = sentence;
}

async function skip() {
  const now = part();
  if (!now) return;
  busy = true;
  try {
    trail.push({ id: now.dataset.id, said: null });
    await step("Skipped.");
    free(now);
  } catch (error) {
    unreachable(error);
  } finally {
    busy = false;
  }
}

// Goes to the part before, or to the last one that was reviewed, to say it anew.
async function back(way, link) {
  const place = way === "back" ? trail.length - 1 : trail.findLastIndex((one) => one.said);
  const address = place >= 0 ? wayTo(trail[place].id) : link;
  if (!address) return tell(way === "undo" ? "There is no review of yours to undo here." : "There is no part before this one.");
  const now = part();
  busy = true;
  try {
    const there = await load(address);
    trail.length = Math.max(place, 0);
    show(there, address);
    if (now) free(now);
    tell(way === "undo" ? "What you say now is a new review; the newest counts." : "");
  } catch (error) {
    unreachable(error);
  } finally {
    busy = false;
  }
}

async function step(sentence) {
  const address = part().dataset.next;
  const ready = ahead && (await ahead.document.catch(() => null));
  const fresh = ready && ahead.address === address && Date.parse(ready.querySelector("#part")?.dataset.until) > Date.now();
  show(fresh ? ready : await load(address), address);
  tell(sentence);
}

function unreachable(error) {
  if (!(error instanceof TypeError)) throw error;
  tell("The server could not be reached. Press the key again.");
}

async function load(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const there = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!there.querySelector("#part")) {
    location.href = address; // a login, or a problem's page
    return new Promise(() => {});
  }
  return there;
}

function show(there, address) {
  chosen = null;
  ahead = null;
  history.replaceState(null, "", address);
  document.querySelector("p.keys")?.remove();
  document.querySelector("#part").replaceWith(...[there.querySelector("#part"), there.querySelector("p.keys")].filter(Boolean).map((one) => document.importNode(one, true)));
  document.querySelector("#part .name")?.focus({ preventScroll: true });
  showWays();
  prefetch();
  count();
}

// The next part was fetched before this one was reviewed: its links know less than the trail.
function showWays() {
  for (const [way, place] of [["back", trail.length - 1], ["undo", trail.findLastIndex((one) => one.said)]]) {
    const link = document.querySelector(`#part [data-way="${way}"]`);
    if (!link || place < 0) continue;
    link.removeAttribute("aria-disabled");
    link.removeAttribute("role");
    link.href = wayTo(trail[place].id);
  }
}

function wayTo(id) {
  const url = new URL(document.querySelector("#part").dataset.queue, location.href);
  url.searchParams.set("part", id);
  return url.href;
}

// The next part is claimed as well: two people who look at neighbours don't meet.
function prefetch() {
  const now = part();
  if (!now || now.hasAttribute("data-done")) return;
  const address = now.dataset.next;
  const document_ = load_quietly(address).then(async (there) => {
    const next = there?.querySelector("#part[data-id]");
    if (!next || next.dataset.id === now.dataset.id) return null;
    const pictures = [...next.querySelectorAll("img")].map((one) => {
      const picture = new Image();
      picture.src = one.getAttribute("src");
      return picture.decode().catch(() => {});
    });
    await Promise.all(pictures);
    return there;
  });
  ahead = { address, document: document_ };
  document_.catch(() => {});
}

async function load_quietly(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  return answer.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}

let counting = 0;
let counted = 0; // the newest of those that were answered

async function count() {
  const asked = ++counting;
  const answer = await fetch(document.querySelector("#counts").dataset.address).catch(() => null);
  if (!answer?.ok) return;
  const { counts } = await answer.json();
  if (asked < counted) return; // what was asked for later knows more
  counted = asked;
  for (const [name, one] of Object.entries(counts)) {
    const shown = document.querySelector(`[data-count="${name}"]`);
    if (shown) shown.textContent = one.parts.toString().replace(/\B(?=(\d{3})+$)/g, "\u202f") + (one.complete ? "" : "+");
  }
}

function free(one) {
  if (!one?.dataset.until) return;
  const until = encodeURIComponent(one.dataset.until);
  fetch(`${API}/review/claims/${one.dataset.id}?until=${until}`, {
    method: "DELETE",
    headers: headers(),
    keepalive: true,
  }).catch(() => {});
}

// Whoever looks keeps the part; whoever went away loses it.
async function prolong(one) {
  const answer = await fetch(`${API}/review/claims/${one.dataset.id}`, { method: "PUT", headers: headers() }).catch(() => null);
  if (!answer?.ok || one !== part()) {
    if (answer?.ok) one.dataset.until = (await answer.json()).until;
    return;
  }
  const claim = await answer.json();
  one.dataset.until = claim.until;
  if (claim.holder !== document.querySelector(".person a")?.textContent) {
    tell(`${claim.holder} looks at this part now.`);
  } else if ((claim.newest_review ?? "") !== form()?.elements.known.value) {
    tell("This part was reviewed meanwhile: before yours is taken, you are shown what was said.");
  }
}

async function keep() {
  const now = part();
  const lasting = Number(now?.dataset.lasting ?? 0) * 1000;
  if (!now || document.hidden || Date.now() - lastSign > 2 * lasting) return;
  await prolong(now);
  const next = ahead && (await ahead.document.catch(() => null))?.querySelector("#part[data-id]");
  if (next) await prolong(next);
}

if (document.querySelector("#part")) {
  for (const kind of ["keydown", "pointermove", "pointerdown", "wheel"]) {
    document.addEventListener(kind, () => (lastSign = Date.now()), { passive: true });
  }
  prefetch();
  setInterval(keep, Math.max(10_000, (Number(part()?.dataset.lasting ?? 300) * 1000) / 3));
  addEventListener("pagehide", () => {
    if (part()) free(part());
    ahead?.document.then((there) => free(there?.querySelector("#part[data-id]"))).catch(() => {});
  });
  addEventListener("pageshow", (event) => event.persisted && part() && prolong(part()));
}

// Renews how far open training runs are, every 2 s and only while one is open and the page is looked at.
const EVERY_MS = 2000;

const put = (root, part, text) => {
  const at = root.querySelector(`[data-part="${part}"]`);
  if (at && at.textContent !== text) at.textContent = text;
};

const duration = (seconds) =>
  seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;

const number = (value) =>
  value === 0 || (Math.abs(value) >= 0.001 && Math.abs(value) < 10000) ? value.toFixed(4) : value.toExponential(3);

function said(run) {
  if (run.epochs === null) return run.state === "requested" && !run.attempt ? "no trainer has it yet" : "it prepares its images";
  const loss = run.loss === null ? "" : `, loss ${number(run.loss)}`;
  const left = run.eta_s === null ? "" : `, ${duration(run.eta_s)} left`;
  return `epoch ${run.epoch} of ${run.epochs}${loss}${left}`;
}

function show(root, run) {
  put(root, "state", run.state);
  put(root, "said", said(run));
  put(root, "attempt", String(run.attempt));
  put(root, "holder", run.holder ?? "\u2013");
  put(root, "heartbeat", run.heartbeat_at === null ? "\u2013" : new Date(run.heartbeat_at).toISOString().slice(0, 19).replace("T", " "));
  put(root, "log", run.log || "Nothing yet.");
  const bar = root.querySelector('[data-part="bar"]');
  if (bar && run.epochs !== null) {
    bar.max = run.epochs || 1;
    bar.value = run.epoch ?? 0;
  }
}

async function renew() {
  if (document.hidden) return;
  for (const root of document.querySelectorAll("[data-run]")) {
    try {
      const answer = await fetch(`/api/v1/runs/${root.dataset.run}`, { headers: { Accept: "application/json" } });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) continue;
      const run = await answer.json();
      const isOpen = run.state === "requested" || run.state === "running";
      if (!isOpen && !document.activeElement?.matches("input, select, textarea")) return location.reload(); // and nobody fills in a form
      show(root, run);
    } catch {
      // the server is away: what is shown stays, and the next look tells
    }
  }
}

if (document.querySelector("[data-run]")) setInterval(renew, EVERY_MS);

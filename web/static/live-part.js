// Parts of a page that change by themselves: each with data-live="SECONDS" is fetched anew and put in place,
// until the server sends it without the mark. Without script, reloading the page does the same.

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function fresh(id) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
}

async function follow(part) {
  while (part.dataset.live) {
    await wait(Number(part.dataset.live));
    try {
      const now = await fresh(part.id);
      if (now === null) return;
      if (now.innerHTML !== part.innerHTML) part.replaceChildren(...now.childNodes);
      if (now.dataset.live) part.dataset.live = now.dataset.live;
      else delete part.dataset.live;
    } catch {
      // the server is away for a moment: the next look may find it
    }
  }
}

for (const part of document.querySelectorAll("[data-live][id]")) follow(part);

// Parts of a page that change by themselves: those with an id and data-live="SECONDS" are fetched anew and put
// in place, until the server sends them without the mark. Without script, reloading the page does the same.

const live = () => [...document.querySelectorAll("[data-live][id]")];

async function look() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of live()) {
    const now = page.getElementById(part.id);
    if (now !== null && now.innerHTML !== part.innerHTML) part.replaceChildren(...now.childNodes);
    if (now === null || !now.dataset.live) delete part.dataset.live;
  }
}

for (let parts = live(); parts.length; parts = live()) {
  const seconds = Math.min(...parts.map((part) => Number(part.dataset.live)));
  await new Promise((done) => setTimeout(done, 1000 * seconds));
  try {
    await look();
  } catch {
    // the server is away for a moment: the next look may find it
  }
}

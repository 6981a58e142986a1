// What the charts share: the page's own colours, times as UTC, and drawing again when light turns dark.

// A colour of the page's style sheet as the browser computes it: light-dark() is none that the library reads.
export function colours(...names) {
  const probe = document.body.appendChild(document.createElement("span"));
  const found = Object.fromEntries(
    names.map((name) => {
      probe.style.color = `var(--${name})`;
      return [name.replace("-", ""), getComputedStyle(probe).color];
    }),
  );
  probe.remove();
  return found;
}

export const utc = (iso) => new Date(iso).toISOString().slice(0, 19).replace("T", " ");

export const readDrawn = () => JSON.parse(document.getElementById("drawn").textContent);

export const range = ({ since, until }) => [utc(since), utc(until)];

// Upright lines where models were trained and promoted; those that change who judges are whole.
export function uprights({ marks, since, until }, colour) {
  const late = Date.parse(since) + 0.85 * (Date.parse(until) - Date.parse(since));
  const judges = new Set(["promoted", "rolled back"]);
  const lines = marks.map(({ at, what }) => ({
    type: "line", x0: utc(at), x1: utc(at), yref: "paper", y0: 0, y1: 1, layer: "below",
    line: { color: colour, width: 1, dash: judges.has(what) ? "solid" : "dot" },
  }));
  // At most one label where several lines stand close together: the list below the chart has them all.
  const words = marks.filter(({ what }) => judges.has(what)).map(({ at, what }) => ({
    x: utc(at), y: 1, yref: "paper", yanchor: "bottom", xanchor: Date.parse(at) > late ? "right" : "left", text: what, showarrow: false,
    font: { size: 11, color: colour },
  }));
  return { lines, words };
}

export function base(text, line) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: text },
    showlegend: false,
    hovermode: "x",
    margin: { l: 64, r: 16, t: 24, b: 32 },
    axis: { gridcolor: line, zeroline: false, linecolor: line, automargin: false },
  };
}

export function draw(make) {
  const at = document.getElementById("chart");
  if (!at) return;
  const drawn = readDrawn();
  const again = async () => {
    const { traces, layout } = make(drawn);
    at.style.height = `${layout.height}px`;
    await Plotly.react(at, traces, layout, { displayModeBar: false, responsive: true, doubleClick: "reset" });
    at.dataset.drawn = "yes";
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  again();
}

// First-pass yield over time, with how many parts were captured below it.
import { base, colours, draw, range, uprights, utc } from "/static/charts.js";

draw((drawn) => {
  const { text, faint, line, bar } = colours("text", "faint", "line", "bar");
  const { axis, ...layout } = base(text, line);
  const x = drawn.begin.map(utc);
  const width = drawn.begin.map((begin, i) => (Date.parse(drawn.end[i]) - Date.parse(begin)) * 0.8);
  const percent = (value) => (value === null ? "\u2013" : `${(value * 100).toFixed(2)} %`);
  const said = drawn.first_pass_yield.map(
    (value, i) =>
      `yield ${percent(value)} of ${drawn.captured[i]}, false rejects ${percent(drawn.false_reject_rate[i])}, escapes ${percent(drawn.escape_rate[i])}`,
  );
  const least = Math.min(1, ...drawn.first_pass_yield.filter((value) => value !== null));
  const lowest = Math.max(0, least - (1 - least) / 4 - 0.005);
  const marks = uprights(drawn, faint);
  const title = (y, words) => ({
    x: 0, xref: "paper", y, yref: "paper", xanchor: "left", yanchor: "bottom", text: words, showarrow: false, font: { size: 12, color: text },
  });
  return {
    traces: [
      {
        x, y: drawn.first_pass_yield, type: "scatter", mode: "lines+markers", text: said, hovertemplate: "%{text}<extra></extra>",
        line: { color: bar, width: 1.5 }, marker: { size: 5, color: bar },
      },
      { x, y: drawn.captured, width, offset: 0, type: "bar", yaxis: "y2", hovertemplate: "%{y} captured<extra></extra>", marker: { color: bar } },
    ],
    layout: {
      ...layout,
      height: 360,
      shapes: marks.lines,
      annotations: [...marks.words, title(1, "first-pass yield"), title(0.32, "captured")],
      xaxis: { ...axis, type: "date", range: range(drawn), anchor: "y2" },
      yaxis: { ...axis, domain: [0.44, 1], tickformat: ".1%", range: [lowest, 1 + (1 - lowest) / 20], nticks: 5 },
      yaxis2: { ...axis, domain: [0, 0.32], rangemode: "tozero", nticks: 4 },
    },
  };
});

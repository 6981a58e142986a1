// A strip for each statistic of a station's windows: value, limit, alarms; all of one time.
import { base, colours, draw, range, uprights, utc } from "/static/charts.js";

const STRIP = 96; // pixels
const GAP = 0.24; // of a strip, between two
const LEAST_BREAK_MS = 3600e3;

// Columns with an empty place wherever the station paused, so that no line is drawn across.
function broken({ begin, end, images, model }, value, limit) {
  const out = { x: [], y: [], limit: [], text: [], beyond: [] };
  let last = null;
  for (let i = 0; i < begin.length; i += 1) {
    if (value[i] === null) continue;
    const start = Date.parse(begin[i]);
    const pause = Math.max(LEAST_BREAK_MS, 4 * (Date.parse(end[i]) - start));
    if (last !== null && start - last > pause) {
      out.x.push(utc(last)); out.y.push(null); out.limit.push(null); out.text.push(""); out.beyond.push(null);
    }
    last = Date.parse(end[i]);
    const over = Math.abs(value[i]) > limit[i];
    out.x.push(utc(begin[i]));
    out.y.push(value[i]);
    out.limit.push(limit[i]);
    out.beyond.push(over ? value[i] : null);
    out.text.push(`${value[i]}, limit ${limit[i]}${over ? ": beyond" : ""}, ${images[i]} images, model ${model[i]}`);
  }
  return out;
}

draw((drawn) => {
  const { text, faint, line, bar, ng } = colours("text", "faint", "line", "bar", "ng");
  const { axis, ...layout } = base(text, line);
  const count = drawn.statistics.length;
  const height = 1 / (count + GAP * (count - 1));
  const marks = uprights(drawn, faint);
  const traces = [];
  layout.shapes = marks.lines;
  layout.annotations = marks.words;
  layout.height = Math.round(count * STRIP * (1 + GAP)) + 56;
  layout.xaxis = { ...axis, type: "date", range: range(drawn), anchor: `y${count > 1 ? count : ""}` };
  drawn.statistics.forEach((one, row) => {
    const key = row ? `y${row + 1}` : "y";
    const top = 1 - row * height * (1 + GAP);
    const columns = broken(drawn, one.value, one.limit);
    layout[row ? `yaxis${row + 1}` : "yaxis"] = {
      ...axis, domain: [Math.max(0, top - height), top], nticks: 4, rangemode: one.signed ? "normal" : "tozero",
    };
    layout.annotations.push({
      x: 0, xref: "paper", y: top, yref: "paper", xanchor: "left", yanchor: "bottom", text: one.title, showarrow: false,
      font: { size: 12, color: text },
    });
    for (const alarm of drawn.alarms.filter(({ statistic }) => statistic === one.name)) {
      layout.shapes.push({
        type: "rect", xref: "x", yref: `${key} domain`, x0: utc(alarm.since), x1: alarm.until ? utc(alarm.until) : utc(Date.now()),
        y0: 0, y1: 1, fillcolor: ng, opacity: 0.18, line: { width: 0 }, layer: "below",
      });
    }
    const common = { x: columns.x, yaxis: key, xaxis: "x", type: "scatter" };
    const limit = { ...common, mode: "lines", hoverinfo: "skip", line: { color: faint, width: 1, dash: "dash", shape: "hv" } };
    traces.push({ ...limit, y: columns.limit });
    if (one.signed) traces.push({ ...limit, y: columns.limit.map((value) => (value === null ? null : -value)) });
    traces.push({
      ...common, y: columns.y, mode: "lines+markers", text: columns.text, hovertemplate: "%{text}<extra></extra>",
      line: { color: bar, width: 1.5 }, marker: { size: 3, color: bar },
    });
    traces.push({ ...common, y: columns.beyond, mode: "markers", hoverinfo: "skip", marker: { symbol: "x", size: 8, color: ng } });
  });
  return { traces, layout };
});

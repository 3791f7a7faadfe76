// Draws the charts from the days in #data; the tables below hold the same numbers without it.
(() => {
  "use strict";
  const days = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const x = days.map((day) => day.day);
  const share = (day, name) => {
    const placed = day.inbox + day.junk + day.missing;
    return placed ? (100 * day[name]) / placed : null;
  };
  const rounded = (unit, digits) => (plot, value) =>
    value == null ? "-" : value.toFixed(digits) + unit;
  const line = (label, name, unit, digits, more) => ({
    label, stroke: () => colour(name), width: 2, spanGaps: true,
    value: rounded(unit, digits), points: { size: 5 }, ...more,
  });
  const axis = (label) => ({
    label, stroke: () => colour("--ink"), grid: { stroke: () => colour("--line") },
    ticks: { stroke: () => colour("--line") },
  });
  const cursor = { sync: { key: "days" } };
  const plots = [];
  const draw = (id, label, series, values, range) => {
    const box = document.getElementById(id);
    const options = {
      width: box.clientWidth, height: 260, cursor,
      scales: { x: { time: false }, y: range ? { range } : {} },
      axes: [axis("day"), axis(label)],
      series: [{ label: "day", value: (p, v) => (v == null ? "-" : v + " " + days[v - 1].weekday) },
        ...series],
    };
    plots.push([box, new uPlot(options, [x, ...values], box)]);
  };

  const perMailbox = (name) => days.map((d) => (d.sending && d.planned ? d[name] / d.sending : null));
  draw("ramp", "mails a day",
    [line("allowed", "--grey", "", 1, { dash: [6, 4] }), line("sent", "--blue", "", 1),
      line("in the inbox", "--green", "", 1)],
    [days.map((d) => (d.sending ? d.target : null)), perMailbox("sent"), perMailbox("inbox")]);
  draw("placement", "percent of accepted mail",
    [line("inbox", "--green", " %", 1), line("junk", "--red", " %", 1)],
    [days.map((d) => share(d, "inbox")), days.map((d) => share(d, "junk"))], [0, 100]);
  draw("states", "mailboxes",
    [line("sending", "--blue", "", 0), line("resting", "--red", "", 0),
      line("otherwise blocked", "--grey", "", 0)],
    [days.map((d) => d.sending), days.map((d) => d.resting), days.map((d) => d.blocked)]);

  addEventListener("resize", () => {
    for (const [box, plot] of plots) plot.setSize({ width: box.clientWidth, height: 260 });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [, plot] of plots) plot.redraw();
  });
  document.documentElement.dataset.charts = String(plots.length);
})();

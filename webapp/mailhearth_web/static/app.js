// Behaviour that all pages share. No page has a script of its own: elements ask by data attributes.
//
//   data-toggle="ID"          a button that opens and closes the element ID (the menu on small screens)
//   data-menu                 a <details> that closes on Escape and on a click elsewhere
//   data-theme-toggle         light or dark
//   data-copy="TEXT"          copies TEXT
//   data-local                a <time> shown in the reader's own zone
//   data-autosubmit           a form that is sent when one of its selects or checkboxes changes
//   data-confirm-word="WORD"  its form's button works once WORD is typed
//   data-chart="KIND" data-src="URL"   a chart, see the second half
//   data-live="KIND KIND:ID"  gets an event `live` when something of that kind (or that very thing)
//                             changed in this workspace: htmx hears it with hx-trigger="live"
(function () {
  "use strict";

  const body = document.body;
  const say = (text) => {
    const place = document.getElementById("announcer");
    if (place) { place.textContent = text; }
  };

  // -- small behaviours --------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-toggle], [data-theme-toggle], [data-copy]");
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) { menu.open = false; }
    }
    if (!target) { return; }
    if (target.hasAttribute("data-theme-toggle")) {
      window.mailhearthTheme.toggle();
    } else if (target.dataset.toggle) {
      const open = document.getElementById(target.dataset.toggle).classList.toggle("open");
      target.setAttribute("aria-expanded", String(open));
    } else {
      navigator.clipboard.writeText(target.dataset.copy).then(() => say("Copied."), () => say("Could not copy."));
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") { return; }
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form && form.hasAttribute("data-autosubmit")) { form.requestSubmit(); }
  });

  document.addEventListener("input", (event) => {
    if (event.target.dataset && event.target.dataset.confirmWord) { checkWord(event.target); }
  });

  function checkWord(input) {
    const button = input.form.querySelector("button[type=submit]");
    button.disabled = input.value.trim() !== input.dataset.confirmWord;
  }

  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  function prepare(root) {
    for (const time of root.querySelectorAll("time[data-local]")) {
      const at = new Date(time.dateTime);
      if (!isNaN(at)) {
        time.title = time.textContent;
        time.textContent = zone.format(at);
        time.removeAttribute("data-local");
      }
    }
    // A time zone that nobody has chosen yet is the reader's own.
    for (const input of root.querySelectorAll("input[data-own-zone]")) {
      input.value = Intl.DateTimeFormat().resolvedOptions().timeZone || input.value;
      input.removeAttribute("data-own-zone");
    }
    root.querySelectorAll("[data-confirm-word]").forEach(checkWord);
    root.querySelectorAll("[data-chart]").forEach(draw);
  }

  // -- htmx ----------------------------------------------------------------------------------------

  document.addEventListener("htmx:configRequest", (event) => {
    if (body.dataset.csrf) { event.detail.headers["X-CSRFToken"] = body.dataset.csrf; }
  });
  document.addEventListener("htmx:afterSwap", (event) => prepare(event.detail.elt.parentElement || document));
  document.addEventListener("htmx:responseError", (event) => {
    say(event.detail.xhr.status === 429 ? "Too many tries; wait a little." : "That did not work. Load the page again.");
  });
  // A refused form comes back with 422 and the mistakes beside its fields.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status === 422) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });

  // -- live --------------------------------------------------------------------------------------

  function wake(match) {
    for (const element of document.querySelectorAll("[data-live]")) {
      if (match === null || element.dataset.live.split(/\s+/).some((word) => match.includes(word))) {
        element.dispatchEvent(new CustomEvent("live", { bubbles: false }));
      }
    }
  }

  function hear(message) {
    if (message.gone) { location.reload(); }
    if (message.poll) { wake(null); }
    const event = message.event;
    if (event && event.kind === "all") { wake(null); return; }
    if (event && (!event.workspace || event.workspace === body.dataset.workspace)) {
      wake([event.kind, event.kind + ":" + event.id]);
    }
  }

  function listen() {
    const url = body.dataset.live;
    if (!url || !document.querySelector("[data-live]:not(body)")) { return; }
    if (window.SharedWorker) {
      const worker = new SharedWorker(body.dataset.liveScript, "mailhearth-live");
      worker.port.onmessage = (message) => hear(message.data);
      worker.port.start();
      worker.port.postMessage({ start: url });
      window.addEventListener("pagehide", () => worker.port.postMessage({ stop: true }));
      window.addEventListener("pageshow", (event) => { if (event.persisted) { location.reload(); } });
    } else {
      setInterval(() => { if (!document.hidden) { wake(null); } }, 30000);
    }
  }

  // -- charts ------------------------------------------------------------------------------------
  //
  // The JSON at data-src: {"x": [...], "series": [{"label", "values": [...], "color"?, "class"?,
  // "dash"?, "unit"?}], "x_label"?: "day", "unit"?: "mails", "notes"?: [...], "y_max"?: 100}
  //   x       dates "YYYY-MM-DD", moments in ISO 8601, or plain numbers (days of a simulation)
  //   values  numbers, or null where there is none
  //   color   a name after --chart-, such as "inbox"; else one is given by order (and by kind)
  // Kinds: "ramp" (first series planned, drawn as a stepped line; second sent, as bars; others as
  // lines), "placement" (series stacked as bars), "lines".

  const charts = new Map();
  let loading = null;

  function uPlotReady() {
    if (window.uPlot) { return Promise.resolve(); }
    if (!loading) {
      const style = document.createElement("link");
      style.rel = "stylesheet";
      style.href = body.dataset.uplotCss;
      document.head.append(style);
      loading = new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = body.dataset.uplot;
        script.onload = resolve;
        script.onerror = reject;
        document.head.append(script);
      });
    }
    return loading;
  }

  async function draw(figure) {
    if (charts.has(figure)) { return; }
    charts.set(figure, null);
    const plot = figure.querySelector(".chart-plot");
    try {
      const answer = await fetch(figure.dataset.src, { headers: { Accept: "application/json" } });
      if (!answer.ok) { throw new Error(String(answer.status)); }
      const data = await answer.json();
      fillTable(figure, data);
      if (!data.x.length) {
        plot.replaceChildren(note("Nothing to show yet."));
        return;
      }
      await uPlotReady();
      charts.set(figure, { data, drawn: null });
      redraw(figure);
      new ResizeObserver(() => resize(figure)).observe(plot);
    } catch (error) {
      plot.replaceChildren(note("The chart could not be loaded."));
      charts.delete(figure);
    }
  }

  // A chart inside an element with data-live takes its new numbers quietly.
  document.addEventListener("live", (event) => {
    for (const figure of event.target.querySelectorAll("[data-chart]")) { refresh(figure); }
  }, true);

  async function refresh(figure) {
    const held = charts.get(figure);
    if (!held) { charts.delete(figure); draw(figure); return; }
    const answer = await fetch(figure.dataset.src, { headers: { Accept: "application/json" } });
    if (!answer.ok) { return; }
    held.data = await answer.json();
    fillTable(figure, held.data);
    redraw(figure);
  }

  function note(text) {
    const element = document.createElement("div");
    element.className = "chart-wait text-secondary";
    element.textContent = text;
    return element;
  }

  const BY_ORDER = ["1", "2", "3", "4", "inbox", "junk"];

  function colour(series, index) {
    const name = "--chart-" + (series.color || series.class || BY_ORDER[index % BY_ORDER.length]);
    const style = getComputedStyle(document.documentElement);
    return style.getPropertyValue(name).trim() || style.getPropertyValue("--chart-1").trim();
  }

  function toX(value) {
    if (typeof value === "number") { return value; }
    return Date.parse(value.length === 10 ? value + "T00:00:00Z" : value) / 1000;
  }

  function formX(value) {
    if (typeof value === "number") { return String(value); }
    const at = new Date(value.length === 10 ? value + "T00:00:00Z" : value);
    const options = value.length === 10 ? { day: "numeric", month: "short", timeZone: "UTC" } : { dateStyle: "short", timeStyle: "short" };
    return at.toLocaleString(undefined, options);
  }

  const TIME_STEPS = [3600, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2419200, 7776000];

  function formTick(seconds, step) {
    const options = step < 86400 ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
    return new Date(seconds * 1000).toLocaleString(undefined, { ...options, timeZone: "UTC" });
  }

  const form = (value, unit) => value === null || value === undefined ? "-" : value.toLocaleString(undefined, { maximumFractionDigits: 1 }) + (unit ? " " + unit : "");

  function redraw(figure) {
    const held = charts.get(figure);
    if (!held) { return; }
    const kind = figure.dataset.chart;
    const { data } = held;
    const plot = figure.querySelector(".chart-plot");
    if (held.drawn) { held.drawn.destroy(); }
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue("--chart-text").trim();
    const grid = style.getPropertyValue("--chart-grid").trim();
    const x = data.x.map(toX);
    const isTime = typeof data.x[0] !== "number";
    const stacked = kind === "placement";
    let columns = data.series.map((series) => series.values);
    let order = data.series.map((_, index) => index);
    if (stacked) {
      const sums = x.map(() => 0);
      columns = columns.map((values) => values.map((value, at) => (sums[at] += value || 0)));
      order = order.reverse();  // the highest sum is painted first
    }
    const bars = window.uPlot.paths.bars({ size: [0.7, 48], align: 0 });
    const stepped = window.uPlot.paths.stepped({ align: 1 });
    const series = order.map((index) => {
      const source = data.series[index];
      const paint = colour(source, index);
      const asBars = stacked || (kind === "ramp" && index === 1);
      return {
        label: source.label,
        stroke: paint,
        width: asBars ? 0 : 2,
        fill: asBars ? paint : undefined,
        paths: asBars ? bars : kind === "ramp" && index === 0 ? stepped : undefined,
        dash: source.dash || (kind === "ramp" && index > 1) ? [6, 4] : undefined,
        points: { show: !asBars && x.length < 2 },
        spanGaps: false,
      };
    });
    // Bars first, so that lines stay visible over them.
    const places = series.map((_, at) => at).sort((a, b) => (series[b].fill ? 1 : 0) - (series[a].fill ? 1 : 0));
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, sans-serif" };
    const half = x.length > 1 ? (x[1] - x[0]) / 2 : isTime ? 43200 : 0.5;
    const anyBars = series.some((one) => one.fill);
    const options = {
      width: Math.max(plot.clientWidth, 200),
      height: Number(figure.dataset.height) || 240,
      tzDate: isTime ? (at) => window.uPlot.tzDate(new Date(at * 1000), "Etc/UTC") : undefined,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { show: !stacked } },
      scales: {
        x: { time: isTime, range: (u, low, high) => anyBars ? [low - half, high + half] : low === high ? [low - half, high + half] : [low, high] },
        y: { range: (u, low, high) => [0, data.y_max || Math.max(high * 1.08, 1)] },
      },
      axes: [
        { ...axis, space: 50, incrs: isTime ? TIME_STEPS : undefined, values: (u, splits, at, space, step) => splits.map((value) => isTime ? formTick(value, step) : Number.isInteger(value) ? String(value) : "") },
        { ...axis, size: 46, values: (u, splits) => splits.map((value) => value.toLocaleString()) },
      ],
      series: [{}, ...places.map((at) => series[at])],
      hooks: { setCursor: [(u) => tip(figure, u, data)] },
    };
    plot.replaceChildren();
    held.drawn = new window.uPlot(options, [x, ...places.map((at) => columns[order[at]])], plot);
    const bubble = document.createElement("div");
    bubble.className = "chart-tip";
    bubble.hidden = true;
    plot.append(bubble);
    legend(figure, data, stacked || kind === "ramp");
  }

  function tip(figure, plot, data) {
    const bubble = figure.querySelector(".chart-tip");
    const at = plot.cursor.idx;
    if (!bubble) { return; }
    bubble.hidden = at === null || at === undefined || plot.cursor.left < 0;
    if (bubble.hidden) { return; }
    const lines = [formX(data.x[at]), ...data.series.map((series) => series.label + ": " + form(series.values[at], series.unit || data.unit))];
    bubble.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    const left = plot.cursor.left + plot.bbox.left / devicePixelRatio;
    const flip = left > figure.clientWidth / 2;
    bubble.style.top = "8px";
    bubble.style.left = flip ? "auto" : left + 12 + "px";
    bubble.style.right = flip ? figure.clientWidth - left + 12 + "px" : "auto";
  }

  function legend(figure, data) {
    let list = figure.querySelector(".chart-legend");
    if (!list) {
      list = document.createElement("ul");
      list.className = "chart-legend";
      figure.querySelector(".chart-plot").after(list);
    }
    const kind = figure.dataset.chart;
    list.replaceChildren(...data.series.map((series, index) => {
      const item = document.createElement("li");
      const key = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const solid = kind === "placement" || (kind === "ramp" && index === 1);
      key.setAttribute("viewBox", "0 0 14 14");
      key.setAttribute("class", "chart-key");
      key.setAttribute("aria-hidden", "true");
      line.setAttribute("d", solid ? "M0 0h14v14H0z" : "M0 7h14");
      line.setAttribute("fill", solid ? colour(series, index) : "none");
      line.setAttribute("stroke", solid ? "none" : colour(series, index));
      line.setAttribute("stroke-width", "3");
      if (!solid && (series.dash || (kind === "ramp" && index > 1))) { line.setAttribute("stroke-dasharray", "4 2"); }
      key.append(line);
      item.append(key, series.label);
      return item;
    }), ...(data.notes || []).map((text) => Object.assign(document.createElement("li"), { textContent: text, className: "text-secondary" })));
  }

  function fillTable(figure, data) {
    const table = document.createElement("table");
    table.className = "table table-sm";
    const head = table.createTHead().insertRow();
    for (const [at, label] of [data.x_label || "day", ...data.series.map((one) => one.label)].entries()) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = label;
      cell.className = at ? "num" : "";
      head.append(cell);
    }
    const rows = table.createTBody();
    data.x.forEach((value, at) => {
      const row = rows.insertRow();
      row.insertCell().textContent = formX(value);
      for (const series of data.series) {
        const cell = row.insertCell();
        cell.className = "num";
        cell.textContent = form(series.values[at], series.unit);
      }
    });
    figure.querySelector(".chart-table > div").replaceChildren(table);
  }

  function resize(figure) {
    const held = charts.get(figure);
    const width = figure.querySelector(".chart-plot").clientWidth;
    if (held && held.drawn && width && held.drawn.width !== width) {
      held.drawn.setSize({ width, height: held.drawn.height });
    }
  }

  window.addEventListener("themechange", () => { for (const figure of charts.keys()) { redraw(figure); } });

  prepare(document);
  listen();
})();

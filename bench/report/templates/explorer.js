"use strict";
// The chart of curves, and charts in the place of figures. Their numbers lie in the page as JSON; Vega-Lite draws them.
(() => {
  const AXES = { step: "step", epoch: "epoch", time: "training time (s)" };
  const hidden = new Set(); // optimizers that are switched off, in every chart
  const drawn = new Set(); // those that have been near the window
  const LEFT = 110; // pixels left of a chart of several panels

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const labelled = (text, control) => make("label", {}, `${text} `, control);
  const select = (choices, chosen) => {
    const control = make("select");
    for (const [value, text] of choices) control.append(make("option", { value, textContent: text, selected: value === chosen }));
    return control;
  };
  const checkbox = (checked = false) => make("input", { type: "checkbox", checked });

  const schema = "https://vega.github.io/schema/vega-lite/v6.json";
  // the drawing has a label as a whole, and its parts have none
  const theme = () => ({ mark: { aria: false }, title: { aria: false }, background: null, view: { stroke: null }, font: "system-ui, sans-serif",
    axis: { aria: false, labelColor: colour("--soft"), titleColor: colour("--ink"), gridColor: colour("--line"), domainColor: colour("--axis"),
      tickColor: colour("--axis"), labelFontSize: 12, titleFontSize: 13, labelLimit: 260 },
    legend: { aria: false, labelColor: colour("--ink"), titleColor: colour("--ink"), labelFontSize: 12 },
    text: { color: colour("--ink") } });

  const told = (row, sanitized) => `<table>${Object.entries(row.told ?? row)
    .map(([name, value]) => `<tr><th>${sanitized(name)}</th><td>${sanitized(value)}</td></tr>`).join("")}</table>`;

  function chartOf(box, data) {
    for (const curve of data.series.flatMap((each) => Object.values(each.curves)))
      for (const key of ["step", "time"]) curve[key] = data.arrays[curve[key]];
    const metrics = [...new Set(data.series.flatMap((each) => Object.keys(each.curves)))];
    const preferred = ["val loss", "train loss"].find((name) => metrics.includes(name)) ?? metrics[0];
    const metric = select(metrics.map((name) => [name, name]), preferred);
    const hasTime = data.series.some((each) => Object.values(each.curves).some((curve) => curve.time.some((t) => t > 0)));
    const across = select(Object.entries(AXES).filter(([x]) => (x !== "epoch" || data.epochs_per_step) && (x !== "time" || hasTime)), "step");
    const several = data.series.some((each) => !each.best);
    const settings = select([["best", "the best of each optimizer"], ["all", `all ${data.series.length}`],
      ...data.series.map((each) => [each.name, each.name])], "best");
    const logX = checkbox(), logY = checkbox(true), seeds = checkbox();
    const smoothing = make("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0 });
    const controls = make("div", { className: "controls" }, labelled("curve of", metric), labelled("against", across),
      ...(several ? [labelled("settings", settings)] : []), labelled("log x", logX), labelled("log y", logY),
      labelled("single seeds", seeds), labelled("smoothing", smoothing));
    const place = make("div", { className: "canvas" });
    const legend = make("ul", { className: "legend" });
    box.replaceChildren(controls, place, legend,
      make("p", { className: "soft", textContent: "Lines: median over seeds; bands: their range. Drag to move, turn the wheel to zoom, " +
        "double-click to reset; point at a curve for its numbers." }));

    const shown = () => data.series.filter((each) => !hidden.has(each.optimizer) && each.curves[metric.value] &&
      (settings.value === "all" || each.name === settings.value || (settings.value === "best" && each.best)));
    const smooth = (values) => {
      const weight = Number(smoothing.value);
      let last = null;
      return values.map((value) => (last = value === null || last === null ? value : weight * last + (1 - weight) * value));
    };
    const xOf = (curve, i) => across.value === "step" ? curve.step[i] : across.value === "epoch"
      ? curve.step[i] * data.epochs_per_step : curve.time[i];
    const rowsOf = (each) => {
      const curve = each.curves[metric.value], rows = [];
      const [median, low, high] = [curve.median, curve.low, curve.high].map(smooth);
      curve.step.forEach((step, i) => rows.push({ line: each.name, name: each.name, seed: `median of ${each.seeds}`,
        x: xOf(curve, i), step, value: median[i], low: low[i], high: high[i], wide: 2 }));
      if (seeds.checked) {
        for (const [seed, raw] of curve.runs ?? []) {
          smooth(raw).forEach((value, i) => value === null || rows.push({ line: `${each.name} ${seed}`, name: each.name, seed,
            x: xOf(curve, i), step: curve.step[i], value, wide: 0.7 }));
        }
      }
      return rows;
    };

    function spec() {
      const series = shown();
      let rows = series.flatMap(rowsOf);
      const canLogY = rows.every((row) => row.value > 0 && (row.low === undefined || row.low > 0));
      logY.disabled = !canLogY;
      const byLogY = logY.checked && canLogY && !metric.value.includes("accuracy");
      for (const row of rows) {
        const [x, value, low, high] = [row.x, row.value, row.low, row.high].map((number) => number && String(Number(number.toPrecision(4))));
        row.told = { setting: row.name, seed: row.seed, [AXES[across.value]]: x, step: row.step, [metric.value]: value,
          ...(low === undefined ? {} : { "range over seeds": `${low} to ${high}` }) };
      }
      if (logX.checked) rows = rows.filter((row) => row.x > 0);
      const scale = (isLog) => (isLog ? { type: "log", nice: false } : { type: "linear", zero: false, nice: false });
      const x = { field: "x", type: "quantitative", title: AXES[across.value], scale: scale(logX.checked) };
      const y = (field) => ({ field, type: "quantitative", title: metric.value, scale: scale(byLogY) });
      const domain = series.map((each) => each.name);
      const color = { field: "name", type: "nominal", legend: null, scale: { domain, range: series.map((each) => each.colour) } };
      const strokeDash = { field: "name", type: "nominal", legend: null, scale: { domain, range: series.map((each) => each.dash) } };
      const detail = { field: "line", type: "nominal" };
      return {
        $schema: schema,
        data: { values: rows }, width: "container", height: 380, autosize: { type: "fit", contains: "padding" },
        layer: [
          { transform: [{ filter: "isValid(datum.low)" }], mark: { type: "area", opacity: 0.14 },
            encoding: { x, y: y("low"), y2: { field: "high" }, color, detail } },
          { mark: { type: "line", clip: true }, encoding: { x, y: y("value"), color, strokeDash, detail, order: { field: "step" },
            strokeWidth: { field: "wide", type: "quantitative", scale: null, legend: null } },
            params: [{ name: "zoom", select: "interval", bind: "scales" }] },
          { mark: { type: "point", filled: true, size: 70, tooltip: { content: "data" } }, encoding: { x, y: y("value"), color,
            opacity: { condition: { param: "near", empty: false, value: 1 }, value: 0 } },
            params: [{ name: "near", select: { type: "point", nearest: true, on: "pointerover", clear: "pointerout" } }] },
        ],
        config: theme(),
      };
    }

    let view = null;
    async function draw() {
      const label = `Curves of ${metric.value} against ${AXES[across.value]}: ${shown().map((each) => each.name).join(", ")}`;
      const drawn = await vegaEmbed(place, spec(), { actions: false, renderer: "svg", tooltip: { formatTooltip: told } });
      view?.finalize();
      view = drawn.view;
      const image = place.querySelector("svg");
      image.setAttribute("role", "img");
      image.setAttribute("aria-label", label);
    }

    function list() {
      const optimizers = new Map(data.series.map((each) => [each.optimizer, each.colour]));
      legend.replaceChildren(...[...optimizers].map(([name, hue]) => {
        const box = checkbox(!hidden.has(name));
        box.addEventListener("change", () => {
          if (box.checked) hidden.delete(name); else hidden.add(name);
          for (const chart of drawn) chart.update();
        });
        const swatch = make("span", { className: "swatch" });
        swatch.style.background = hue;
        return make("li", {}, make("label", {}, box, swatch, name));
      }));
    }

    for (const control of [metric, across, settings, logX, logY, seeds]) control.addEventListener("change", draw);
    smoothing.addEventListener("input", draw);
    return { draw, update: () => { list(); draw(); } };
  }

  // drawn once it is near the window: a page may hold many
  const whenNear = (element, act) => new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    act();
  }, { rootMargin: "400px" }).observe(element);

  function figureChart(figure, data) {
    const place = make("div", { className: "canvas" }), parts = [place];
    place.style.minHeight = `${data.height * Math.max(1, data.panels.length)}px`;
    const chosen = Object.fromEntries(["x", "y", "color"].filter((side) => data.choices?.[side])
      .map((side) => [side, select(Object.entries(data.choices.of), data.choices[side])]));
    const sides = { x: "across", y: "up", color: "quantity" };
    if (data.choices) parts.unshift(make("div", { className: "controls" }, ...Object.entries(chosen).map(([side, control]) => labelled(sides[side], control))));
    const keys = data.legend.map(([name, hue]) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = hue;
      return make("li", {}, swatch, name);
    });
    if (keys.length) parts.push(make("ul", { className: "legend" }, ...keys));
    parts.push(make("p", { className: "soft said", textContent: data.caption }));
    figure.prepend(...parts);
    for (const still of figure.querySelectorAll(".scroll, figcaption")) still.classList.add("replaced");

    function along(encoding) {
      const changed = { ...encoding };
      for (const [side, control] of Object.entries(chosen)) {
        const field = control.value, positive = data.rows.every((row) => row[field] === null || row[field] > 0);
        const scale = { nice: false, ...(positive ? { type: "log" } : { type: "linear", zero: false }),
          ...(side === "color" ? { scheme: "viridis" } : { padding: 12 }) };
        changed[side] = { ...encoding[side], field, title: data.choices.of[field], scale };
      }
      return changed;
    }
    const layers = (list) => list.map((each) => ({ ...each, encoding: along(each.encoding) }));

    function spec() {
      const values = data.rows.filter((row) => !hidden.has(row.optimizer)), config = theme();
      if (!data.panels.length)
        return { $schema: schema, data: { values }, width: "container", height: data.height,
          autosize: { type: "fit", contains: "padding" }, layer: layers(data.layer), config };
      const width = Math.max(150, place.clientWidth - LEFT - 25);
      config.axisLeft = { minExtent: LEFT - 20, maxExtent: LEFT - 20 };
      const resolve = data.one_scale ? {} : { scale: { color: "independent" } };
      return { $schema: schema, data: { values }, spacing: 10, config, resolve,
        vconcat: data.panels.map(([text, layer]) => ({ width, height: data.height, layer: layers(layer),
          ...(text ? { title: { text, anchor: "start", color: colour("--ink"), fontSize: 12, offset: 4 } } : {}) })) };
    }

    let view = null;
    async function draw() {
      const drawn = await vegaEmbed(place, spec(), { actions: false, renderer: "svg", tooltip: { formatTooltip: told } });
      view?.finalize();
      view = drawn.view;
      const image = place.querySelector("svg");
      image.setAttribute("role", "img");
      image.setAttribute("aria-label", figure.querySelector("img").alt);
    }
    for (const control of Object.values(chosen)) control.addEventListener("change", draw);
    if (data.panels.length) addEventListener("resize", () => { if (view) draw(); });
    return { draw, update: draw };
  }

  for (const box of document.querySelectorAll(".explorer")) {
    const chart = chartOf(box, JSON.parse(document.getElementById(box.dataset.curves).textContent));
    box.hidden = false;
    for (const figure of box.closest("section").querySelectorAll("figure")) {
      if (/(^|-)(loss-step|loss-time|accuracy)$/.test(figure.id)) figure.classList.add("replaced");
    }
    whenNear(box, () => { drawn.add(chart); chart.update(); });
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const chart = figureChart(figure, JSON.parse(document.getElementById(figure.dataset.chart).textContent));
    whenNear(figure, () => { drawn.add(chart); chart.draw(); });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const chart of drawn) chart.draw(); });
})();

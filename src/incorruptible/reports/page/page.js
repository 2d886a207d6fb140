// Draws the charts, with a legend of buttons, in the colours of the page, at the test strength that is chosen.
"use strict";
{
  const PRINTED = 860; // pixels, which the style sheet reduces to what A4 and letter leave between their margins
  const NARROWEST = 250; // of one panel, before panels stand one below the other
  const LETTER = 7.5; // about, of an axis title
  const DASHES = { dash: "6 4", dot: "2 3", dashdot: "7 3 2 3", longdashdot: "11 3 2 3" };
  const SVG = "http://www.w3.org/2000/svg";

  const { dark, charts } = JSON.parse(document.getElementById("charts").textContent);
  const night = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const select = document.getElementById("strength");
  let printing = false;

  // A deep copy, since plotly writes into what it is given; by night with other colours.
  const copied = (value, key = "") => {
    if (typeof value === "string") {
      const other = night.matches && !printing && key.toLowerCase().endsWith("color") && dark[value.slice(0, 7)];
      return other ? other + value.slice(7) : value;
    }
    if (Array.isArray(value)) return value.map((one) => copied(one));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, copied(one, name)]));
  };

  // Breaks each line of plotly's text where `width` pixels are full; tags take no room.
  const broken = (text, width) => {
    const full = (line) => line.replace(/<[^>]*>/g, "").length * LETTER > width;
    const fill = (lines, word) => {
      const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
      return lines.length && full(longer) ? [...lines, word] : [...lines.slice(0, -1), longer];
    };
    return text.split("<br>").flatMap((line) => line.split(" ").reduce(fill, [])).join("<br>");
  };

  const node = (name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const swatch = (trace) => {
    const svg = node("svg", { width: 30, height: 12, "aria-hidden": "true" });
    const colour = trace.line?.color ?? trace.marker.line.color;
    const dash = DASHES[trace.line?.dash] ?? "";
    svg.append(
      trace.type === "bar"
        ? node("rect", { x: 8, width: 14, y: 1, height: 10, fill: trace.marker.color, stroke: colour })
        : node("line", { x1: 1, x2: 29, y1: 6, y2: 6, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }),
    );
    return svg;
  };

  class Chart {
    constructor(name, chart) {
      this.figure = document.getElementById(name);
      this.plot = this.figure.querySelector(".plot");
      this.chart = chart;
      this.hidden = new Set();
      this.buttons = new Map();
      for (const { legendgroup } of chart.data) if (legendgroup !== undefined) this.enlist(legendgroup);
      new ResizeObserver(() => this.plot.clientWidth !== this.width && this.draw()).observe(this.plot);
    }

    enlist(group) {
      if (this.buttons.has(group)) return;
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", () => {
        if (!this.hidden.delete(group)) this.hidden.add(group);
        this.draw();
      });
      const entry = document.createElement("li");
      entry.append(button);
      this.figure.querySelector(".legend").append(entry);
      this.buttons.set(group, button);
    }

    draw() {
      const { data, layout } = copied(this.chart);
      const { panels, columns, cell, selector } = layout.meta;
      const chosen = data.filter((trace) => !selector || trace.meta.panel === select.value);
      if (selector) {
        this.figure.querySelector(".chosen-strength").textContent = select.value;
        this.figure.querySelector(".nothing").hidden = chosen.length > 0;
        this.plot.hidden = chosen.length === 0;
      }
      for (const note of layout.annotations) if (selector && note.name) note.visible = note.name === select.value;
      this.label(chosen);
      this.width = this.plot.clientWidth;
      layout.width = printing ? PRINTED : this.width;
      if (!this.width) return;
      const rows = Math.ceil(panels / Math.max(1, Math.min(columns, Math.floor(layout.width / NARROWEST))));
      layout.grid.rows = rows;
      layout.grid.columns = Math.ceil(panels / rows);
      layout.height = rows * cell;
      this.fit(layout, data);
      layout.dragmode = coarse.matches ? false : "zoom"; // a finger on a chart scrolls the page
      for (const trace of data) trace.visible = chosen.includes(trace) && !this.hidden.has(trace.legendgroup);
      Plotly.react(this.plot, data, layout, { displayModeBar: false, doubleClick: "reset" });
    }

    // Breaks what is written along the axes, and makes room for it.
    fit(layout, data) {
      const count = (text) => text.split("<br>").length;
      const { xaxis, yaxis, margin } = layout;
      let room = layout.width / layout.grid.columns - 75;
      if (yaxis.ticktext) {
        yaxis.ticktext = yaxis.ticktext.map((name) => broken(name, 0.55 * layout.width));
        room -= Math.max(...yaxis.ticktext.flatMap((name) => name.split("<br>")).map((line) => line.length)) * LETTER;
        xaxis.ticktext = xaxis.ticktext.map((name) => broken(name, Math.max(60, room / xaxis.ticktext.length)));
        layout.height += 17 * Math.max(...xaxis.ticktext.map(count));
      }
      const titles = [...Object.values(layout), ...data.map((trace) => trace.colorbar ?? {})].map((part) => part.title);
      for (const title of [...titles, ...layout.annotations]) if (title?.text) title.text = broken(title.text, room);
      const lines = layout.annotations.map((heading) => count(heading.text));
      if (lines.length) margin.t = 16 + 17 * Math.max(...lines);
    }

    label(chosen) {
      for (const [group, button] of this.buttons) {
        const trace = chosen.find((one) => one.legendgroup === group && one.showlegend !== false);
        button.parentElement.hidden = !trace;
        if (!trace) continue;
        button.setAttribute("aria-pressed", String(!this.hidden.has(group)));
        button.replaceChildren(swatch(trace), trace.meta.legend);
      }
    }
  }

  const drawn = Object.entries(charts).map(([name, chart]) => new Chart(name, chart));
  const redraw = () => drawn.forEach((chart) => chart.draw());

  if (select) {
    const choose = () => {
      for (const cell of document.querySelectorAll("[data-strength]")) {
        cell.classList.toggle("chosen", cell.dataset.strength === select.value);
      }
      drawn.filter((chart) => chart.chart.layout.meta.selector).forEach((chart) => chart.draw());
    };
    select.addEventListener("change", choose);
    select.parentElement.hidden = false;
    choose();
  }

  const measure = (boxes) => {
    for (const { target } of boxes) target.classList.toggle("wide", target.scrollWidth > target.clientWidth);
  };
  const boxes = new ResizeObserver(measure);
  for (const box of document.querySelectorAll(".scroll")) boxes.observe(box);

  night.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    printing = true;
    redraw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    redraw();
  });

  const copy = document.getElementById("copy");
  if (copy) {
    copy.hidden = !navigator.clipboard;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById("command").textContent);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 2000);
    });
  }
}

// <time-chart>: a picture of a series over time. It draws in a shadow tree, which a page that is made anew leaves alone;
// the series stands in an attribute, and a changed attribute is drawn into the same picture.
(() => {
  "use strict";
  const style = document.currentScript.dataset.style;

  const seconds = (value) => {
    if (value == null) return "–";
    if (value < 0.00995) return `${(value * 1000).toFixed(1)} ms`;
    if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
    return `${value.toFixed(2)} s`;
  };
  const perSecond = (value) => (value == null ? "–" : `${value.toFixed(1)}/s`);
  const milliseconds = (value) => (value == null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);
  const bars = () => uPlot.paths.bars({size: [0.8, 14], align: 1});

  // Lines differ by dash and bars by fill, not by colour alone.
  const kinds = {
    fires: {
      tell: perSecond,
      series: [
        {label: "fires", colour: "--accent", fill: "--accent-soft"},
        {label: "failed", colour: "--bad", fill: "--bad", paths: bars},
      ],
    },
    lateness: {
      tell: milliseconds,
      log: true,
      series: [
        {label: "p50", colour: "--accent"},
        {label: "p99", colour: "--warn", dash: [6, 4]},
      ],
    },
    history: {
      tell: seconds,
      series: [
        {label: "duration", colour: "--accent", points: true},
        {label: "lateness", colour: "--warn", dash: [6, 4], points: true},
        {label: "failed", colour: "--bad", points: true, size: 9, line: false},
      ],
    },
  };

  class TimeChart extends HTMLElement {
    static observedAttributes = ["data-series"];
    #plot = null;
    #frame = null;

    connectedCallback() {
      if (!this.shadowRoot) {
        this.attachShadow({mode: "open"});
        const link = Object.assign(document.createElement("link"), {rel: "stylesheet", href: style});
        link.addEventListener("load", () => this.#draw());
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(
          ".u-legend{font:12px system-ui,sans-serif;text-align:left;color:var(--muted)} .u-legend .u-value{min-width:4.5em;" +
          "font-variant-numeric:tabular-nums} .u-wrap{max-width:100%} .u-legend th{font-weight:400}",
        );
        this.shadowRoot.adoptedStyleSheets.push(sheet);
        this.#frame = document.createElement("div");
        this.#frame.setAttribute("aria-hidden", "true");
        this.shadowRoot.append(link, this.#frame);
      }
      this.resized = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
      this.resized.observe(this);
      this.again = () => this.#draw();
      document.addEventListener("theme", this.again);
      this.dark = matchMedia("(prefers-color-scheme: dark)");
      this.dark.addEventListener("change", this.again);
    }

    disconnectedCallback() {
      this.resized.disconnect();
      document.removeEventListener("theme", this.again);
      this.dark.removeEventListener("change", this.again);
    }

    attributeChangedCallback() {
      this.#plot?.setData(this.#data());
    }

    #data() {
      return JSON.parse(this.dataset.series);
    }

    #size() {
      return {width: Math.max(200, Math.floor(this.clientWidth)), height: 170};
    }

    #draw() {
      const kind = kinds[this.dataset.kind];
      const css = getComputedStyle(this);
      const colour = (name) => css.getPropertyValue(name).trim();
      const axis = {stroke: colour("--muted"), font: "11px system-ui, sans-serif", ticks: {show: false}};
      const grid = {stroke: colour("--line"), width: 1};
      const utc = (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC");
      this.#plot?.destroy();
      this.#plot = new uPlot({
        ...this.#size(),
        tzDate: utc,
        legend: {live: true},
        cursor: {y: false, drag: {setScale: false}},
        scales: {y: kind.log ? {distr: 3, log: 10} : {range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1e-3)]}},
        axes: [
          {...axis, grid: {show: false}, size: 26, space: 70, values: (_plot, at) => at.map((one) => clock(one, at))},
          {...axis, grid, size: 58, space: 34, ...(kind.log && {splits: decades}), values: (_plot, values) => values.map((v) => (v == null ? "" : kind.tell(v)))},
        ],
        series: [
          {label: "UTC", value: (_plot, at) => (at == null ? "–" : new Date(at * 1000).toISOString().slice(11, 19))},
          ...kind.series.map((one) => ({
            label: one.label,
            stroke: colour(one.colour),
            fill: one.fill && colour(one.fill),
            width: one.line === false ? 0 : 1.6,
            dash: one.dash,
            paths: one.paths?.(),
            spanGaps: false,
            points: {show: one.points ?? false, size: one.size ?? 4, fill: colour(one.colour)},
            value: (_plot, value) => kind.tell(value),
          })),
        ],
      }, this.#data(), this.#frame);
    }
  }

  // The time of day; the date where the picture spans more than a day.
  const clock = (at, all) => {
    const text = new Date(at * 1000).toISOString();
    const length = all[all.length - 1] - all[0];
    if (length > 86400) return text.slice(5, 10);
    return length < 300 ? text.slice(11, 19) : text.slice(11, 16);
  };

  // Of a logarithmic axis only the powers of ten: the lines between them say little.
  const decades = (plot) => {
    const {min, max} = plot.scales.y;
    const powers = [];
    for (let power = Math.floor(Math.log10(min)); 10 ** power <= max * 1.001; power += 1) powers.push(10 ** power);
    return powers;
  };

  customElements.define("time-chart", TimeChart);
})();

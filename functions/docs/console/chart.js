// Bars and charts in SVG and CSS. Every chart has its table; a download has the same figures.

import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { Button, Credits, Table, digits, short } from "./ui.js";

const HEIGHT = 220, LEFT = 52, BOTTOM = 22, TOP = 8, LABEL = 64, COLORS = 7;

// Horizontal bars: [{ label, value, of, figure, note, tone }]. `of` is the value of a full bar, by default the largest value
// of all bars. `figure` is shown beside the bar, by default `value`.
export function Bars({ label, of: items }) {
  const most = Math.max(1, ...items.map((each) => each.of ?? each.value));
  return html`<ul class="bars" aria-label=${label}>${items.map((each) => html`<li>
    <span class="name">${each.label}</span>
    <${Bar} of=${each.of ?? most} value=${each.value} tone=${each.tone} />
    <span class="figure">${each.figure ?? html`<${Credits} of=${each.value} />`}</span>
    ${each.note && html`<span class="quiet note">${each.note}</span>`}
  </li>`)}</ul>`;
}

// One bar. `of` is the value of a full bar.
export const Bar = ({ of, value, tone }) => html`<span class="bar" aria-hidden="true">
  <span class="part ${tone ?? ""}" style=${{ width: `${share(value, of)}%` }}></span></span>`;

const share = (value, of) => (of > 0 ? Math.max(0, Math.min(100, (value / of) * 100)) : 0);

// Stacked columns, one for each of `labels`. `series` has at most eight of { name, values, rest }, colored in this order. A
// series with `rest` is gray.
export function Chart({ title, labels, series, file }) {
  const [asTable, setAsTable] = useState(false);
  const totals = labels.map((_, at) => series.reduce((sum, each) => sum + (each.values[at] ?? 0), 0));
  return html`<figure class="chart">
    <figcaption class="top">
      <ul class="legend">${series.map((each, at) => html`<li><span class="key ${colorOf(each, at)}" aria-hidden="true"></span>${each.name}</li>`)}</ul>
      <div class="actions">
        <${Button} aria-pressed=${String(asTable)} onClick=${() => setAsTable(!asTable)}>Table<//>
        ${file && html`<${Download} name=${file} rows=${rowsOf(labels, series, totals)} />`}
      </div>
    </figcaption>
    ${asTable ? html`<${Table} caption=${title} rows=${labels.map((_, at) => at).reverse()} columns=${[
      { label: "Day", show: (at) => labels[at] },
      ...series.map((each) => ({ label: each.name, number: true, show: (at) => html`<${Credits} of=${each.values[at] ?? 0} />` })),
      series.length > 1 && { label: "Total", number: true, show: (at) => html`<${Credits} of=${totals[at]} />` },
    ]} />` : html`<${Columns} ...${{ title, labels, series, totals }} />`}
  </figure>`;
}

// The series of a chart from an answer's `series`: the names with the most credits, then everything else as one series.
export function seriesOf({ names, other }, labels) {
  const entries = Object.entries(names);
  const rest = [other, ...entries.slice(COLORS).map(([, days]) => days)];
  const shown = entries.slice(0, COLORS).map(([name, days]) => ({ name, values: labels.map((day) => days[day] ?? 0) }));
  const values = labels.map((day) => rest.reduce((sum, days) => sum + (days[day] ?? 0), 0));
  return values.some(Boolean) || !shown.length ? [...shown, { name: "other", values, rest: true }] : shown;
}

// The width of an element in pixels, kept up to date, and the reference that the element needs.
function useWidth() {
  const element = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry.contentRect.width)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [width, element];
}

function Columns({ title, labels, series, totals }) {
  const [measured, element] = useWidth();
  const width = Math.max(LEFT + labels.length, measured);
  const most = nice(Math.max(1, ...totals));
  const step = (width - LEFT) / Math.max(1, labels.length);
  const height = HEIGHT - BOTTOM - TOP;
  const y = (value) => TOP + height - (value / most) * height;
  const every = Math.ceil((labels.length * LABEL) / (width - LEFT));
  const sum = totals.reduce((all, each) => all + each, 0);
  return html`<div class="drawing" ref=${element}><svg width=${width} height=${HEIGHT} role="img" aria-label="${title}: ${digits(sum)} credits in ${labels.length} days. The button Table shows every figure.">
    ${[0, 0.5, 1].map((part) => html`<line class="grid" x1=${LEFT} x2=${width} y1=${y(part * most)} y2=${y(part * most)} />
      <text class="scale" x=${LEFT - 6} y=${y(part * most) + 4} text-anchor="end">${short(part * most)}</text>`)}
    ${labels.map((label, at) => {
      let below = 0;
      return html`<g>
        <title>${label}: ${digits(totals[at])} credits${series.filter((each) => each.values[at]).map((each) => `\n${each.name}: ${digits(each.values[at])}`).join("")}</title>
        <rect class="hit" x=${LEFT + at * step} width=${step} y=${TOP} height=${height} />
        ${series.map((each, order) => {
          const value = Math.max(0, each.values[at] ?? 0);
          below += value;
          return value > 0 && html`<rect class=${colorOf(each, order)} x=${LEFT + at * step + step * 0.12} width=${step * 0.76} y=${y(below)} height=${(value / most) * height} />`;
        })}
      </g>`;
    })}
    ${labels.map((label, at) => (labels.length - 1 - at) % every === 0 && html`<${DayLabel} at=${LEFT + at * step + step / 2} width=${width}>${label.slice(5)}<//>`)}
  </svg></div>`;
}

// Below the middle of a column, but not beyond the edge.
const DayLabel = ({ at, width, children }) => html`<text class="scale" x=${at + LABEL / 2 > width ? width : at} y=${HEIGHT - 6}
  text-anchor=${at + LABEL / 2 > width ? "end" : "middle"}>${children}</text>`;

const colorOf = (series, at) => `color-${series.rest ? 7 : at}`;

// The next round number: a small one times a power of ten.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((each) => each * power).find((each) => each >= value);
}

const rowsOf = (labels, series, totals) => [
  ["day", ...series.map((each) => each.name), "total"],
  ...labels.map((label, at) => [label, ...series.map((each) => each.values[at] ?? 0), totals[at]]),
];

// A button that saves rows as a CSV file.
export function Download({ name, rows, children = "CSV" }) {
  const save = () => {
    const address = URL.createObjectURL(new Blob([rows.map(line).join("")], { type: "text/csv" }));
    Object.assign(document.createElement("a"), { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  return html`<${Button} onClick=${save} title="Download ${name}">${children}<//>`;
}

const line = (cells) => `${cells.map(cell).join(",")}\r\n`;

// A spreadsheet runs a text that begins like a formula, so such a text gets an apostrophe in front.
function cell(value) {
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

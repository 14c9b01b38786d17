// The parts that every screen is made of. Texts are always set as text, never as markup.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { newKey } from "./api.js";

// --- loading ---

// Load something whenever `inputs` (an array) change: { data, error, loading, reload }. An answer for older inputs is
// dropped. While `reload` runs, and if it fails, the earlier data stays.
export function useLoad(load, inputs = []) {
  const [state, setState] = useState({ loading: true });
  const [turn, setTurn] = useState(0);
  const question = JSON.stringify(inputs);
  const asked = useRef(null);
  useEffect(() => {
    let current = true;
    setState((before) => (asked.current === question ? { ...before, error: undefined, loading: true } : { loading: true }));
    asked.current = question;
    (async () => load())().then( // if the address cannot be made, that is shown as a failure too
      (data) => current && setState({ data, loading: false }),
      (error) => current && setState((before) => ({ data: before.data, error, loading: false })),
    );
    return () => { current = false; };
  }, [question, turn]);
  const stale = asked.current !== question; // this render still has the answer to the older question
  return { ...(stale ? { loading: true } : state), reload: () => setTurn((before) => before + 1) };
}

// Show a load: its failure, `children(data)`, or that it is loading.
export const Loaded = ({ of, children, label }) => html`
  ${of.error && html`<${Failed} error=${of.error} again=${of.reload} />`}
  ${of.data !== undefined ? children(of.data) : !of.error && html`<${Loading} label=${label} />`}`;

export const Loading = ({ label = "Loading" }) => html`<p class="loading" role="status">${label} …</p>`;
export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

export function Failed({ error, again }) {
  const request = error.requestId && html` Request <code>${error.requestId}</code>.`;
  return html`<div class="notice failed" role="alert">
    <p><strong>${error.message}</strong></p>
    <${Problems} errors=${error.details?.errors} />
    <p class="quiet"><code>${error.code ?? error.name}</code>${error.status > 0 && ` (${error.status})`}.${request}</p>
    ${again && html`<${Button} onClick=${again}>Try again<//>`}
  </div>`;
}

const Problems = ({ errors }) => Array.isArray(errors) && errors.length > 0 && html`<ul>
  ${errors.map((each) => html`<li><code>${each.field}</code> ${each.problem}</li>`)}
</ul>`;

// The result of an action.
export const Done = ({ requestId, children }) => html`<div class="notice done" role="status">
  <p>${children}</p>
  ${requestId && html`<p class="quiet">Request <code>${requestId}</code>.</p>`}
</div>`;

// --- the frame of a screen ---

// A screen: its heading, its actions and its content. The heading gets the focus, unless a field asks for it. The focus
// moves before the screen is painted. If it moved later, it would leave a field that somebody already types in.
export function Screen({ title, kicker, actions, children }) {
  const heading = useRef(null);
  useLayoutEffect(() => {
    scrollTo(0, 0);
    (document.querySelector("main [autofocus]") ?? heading.current).focus({ preventScroll: true });
  }, []);
  useEffect(() => { document.title = `${title} · Credits console`; }, [title]);
  return html`<div class="screen">
    <div class="top">
      <div>${kicker && html`<p class="kicker">${kicker}</p>`}<h1 tabindex="-1" ref=${heading}>${title}</h1></div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </div>
    ${children}
  </div>`;
}

export const Section = ({ title, actions, note, children }) => html`<section>
  <div class="top"><h2>${title}</h2>${actions && html`<div class="actions">${actions}</div>`}</div>
  ${note && html`<p class="quiet">${note}</p>`}
  ${children}
</section>`;

// A row of key figures: [{ label, value, note, tone }]; tone is "bad" or "warn". `small` is for facts that are not numbers.
export const Figures = ({ of, small }) => html`<dl class=${small ? "figures small" : "figures"}>${of.filter(Boolean).map((each) => html`<div class=${each.tone}>
  <dt>${each.label}</dt><dd>${each.value}</dd>${each.note && html`<dd class="quiet">${each.note}</dd>`}
</div>`)}</dl>`;

// Links that choose what is shown: [{ label, href, current }].
export const Tabs = ({ label, of }) => html`<nav class="tabs" aria-label=${label}>${of.map((each) => html`
  <a href=${each.href} aria-current=${each.current ? "page" : undefined}>${each.label}</a>`)}</nav>`;

// --- controls ---

// kind: "primary", "danger" or nothing. `busy` disables the button and tells screen readers so.
export const Button = ({ kind, busy, disabled, children, ...rest }) => html`<button type="button" class=${kind}
  disabled=${busy || disabled} aria-busy=${busy ? "true" : undefined} ...${rest}>${children}</button>`;

let fields = 0;

// A labelled input. `options` ([value, label] pairs) makes it a choice, `lines` a text of several lines. `children` replaces
// the input; it is called with the id for the label. onInput gets the value.
export function Field({ label, hint, value, onInput, options, lines, children, ...rest }) {
  const [id] = useState(() => `field-${++fields}`);
  const about = { id, value, onInput: (event) => onInput(event.target.value), "aria-describedby": hint ? `${id}-hint` : undefined, ...rest };
  const input = children ? children(id)
    : options ? html`<select ...${about}>${options.map(([name, text]) => html`<option value=${name} selected=${name === value}>${text}</option>`)}</select>`
    : lines ? html`<textarea rows=${lines} ...${about}></textarea>`
    : html`<input type="text" autocomplete="off" spellcheck=${false} ...${about} />`;
  return html`<div class="field">
    <label for=${id}>${label}</label>${input}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
  </div>`;
}

// A number of credits or tokens that a person typed: digits, possibly grouped. NaN for any other text.
export function wholeNumber(text) {
  const plain = text.replace(/[\s,_'’]/g, "");
  return /^-?\d+$/.test(plain) ? Number(plain) : NaN;
}

// A modal dialog, open as long as it is rendered. Escape closes it.
export function Dialog({ title, onClose, children }) {
  const shown = useRef(null);
  const [id] = useState(() => `dialog-${++fields}`);
  useEffect(() => {
    const opener = document.activeElement, dialog = shown.current;
    dialog.showModal();
    return () => {
      dialog.close(); // while it is open, nothing behind it can get the focus
      (opener?.isConnected ? opener : document.querySelector("h1"))?.focus();
    };
  }, []);
  return html`<dialog ref=${shown} aria-labelledby=${id} onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <h2 id=${id}>${title}</h2>
    ${children}
  </dialog>`;
}

// A dialog that sends one command. `send(key)` returns a promise; `key` is one idempotency key for this opened dialog.
// After success, it shows `done(result)` and the request id. After a refusal, it shows the reason and keeps the typed texts.
// `onDone` is called when the command has succeeded, so that the screen behind reloads.
export function Command({ title, submit, kind = "primary", send, done, onDone, onClose, ready = true, children }) {
  const [key] = useState(newKey);
  const [state, setState] = useState({});
  const busy = useRef(false); // a second click may come before the next render
  const gone = useRef(false);
  useEffect(() => () => { gone.current = true; }, []);
  const submitted = async (event) => {
    event.preventDefault();
    if (busy.current) return;
    busy.current = true;
    setState({ busy: true });
    try {
      const result = await send(key);
      if (!gone.current) setState({ result });
      onDone?.(result);
    } catch (error) {
      busy.current = false;
      if (!gone.current) setState({ error });
    }
  };
  const close = () => { if (!state.busy) onClose(); };
  return html`<${Dialog} title=${title} onClose=${close}>
    ${state.result ? html`<${Done} requestId=${state.result.requestId}>${done(state.result)}<//>
      <div class="buttons"><${Button} kind="primary" onClick=${onClose} ref=${focused}>Close<//></div>`
    : html`<form onSubmit=${submitted}>
      ${children}
      ${state.error && html`<${Failed} error=${state.error} />`}
      <div class="buttons">
        <${Button} onClick=${close} disabled=${state.busy}>Cancel<//>
        <button type="submit" class=${kind} disabled=${state.busy || !ready} aria-busy=${state.busy ? "true" : undefined}>${state.busy ? "Working …" : submit}</button>
      </div>
    </form>`}
  <//>`;
}

const focused = (component) => component?.base?.focus?.();

// --- tables ---

// The pages of a list by cursor: { cursor, number, next(cursor), back(), first() }. When `inputs` (an array) change, the
// first page is shown again.
export function usePages(inputs = []) {
  const list = JSON.stringify(inputs);
  const [state, setState] = useState({ list, cursors: [] });
  const cursors = state.list === list ? state.cursors : [];
  return {
    cursor: cursors.at(-1),
    number: cursors.length + 1,
    next: (cursor) => setState({ list, cursors: [...cursors, cursor] }),
    back: () => setState({ list, cursors: cursors.slice(0, -1) }),
    first: () => setState({ list, cursors: [] }),
  };
}

// One page of rows. With more than three columns, each row is a block on a narrow screen; because of the `role`s, screen
// readers still read a table. A column is { label, show(row), number, wide }; `pages` and `nextCursor` add Next and Back.
// `hidden` keeps the caption for screen readers only, where a heading above says the same.
export function Table({ caption, hidden = true, columns, rows, pages, nextCursor, empty = "Nothing here yet." }) {
  const shown = columns.filter(Boolean);
  const first = !pages || pages.number === 1;
  if (!rows.length && first) return html`<${Empty}>${empty}<//>`;
  return html`<div class=${shown.length > 3 ? "table stacked" : "table"}>
    <div class="scroll" tabindex="0" role="region" aria-label=${caption}>
      <table role="table">
        <caption class=${hidden && "unseen"}>${caption}</caption>
        <thead role="rowgroup"><tr role="row">${shown.map((each) => html`<th scope="col" role="columnheader" class=${kindOf(each)}>${each.label || html`<span class="unseen">Actions</span>`}</th>`)}</tr></thead>
        <tbody role="rowgroup">${rows.map((row) => html`<tr role="row">${shown.map((each) => html`
          <td role="cell" data-label=${each.label} class=${kindOf(each)}><div>${each.show(row)}</div></td>`)}</tr>`)}</tbody>
      </table>
    </div>
    ${pages && html`<${Pager} pages=${pages} nextCursor=${nextCursor} />`}
  </div>`;
}

// Next and Back, unless there is only one page.
export function Pager({ pages, nextCursor }) {
  const first = pages.number === 1;
  return !(first && !nextCursor) && html`<div class="pager">
    <${Button} disabled=${first} onClick=${pages.back}>Back<//>
    <span>Page ${pages.number}</span>
    <${Button} disabled=${!nextCursor} onClick=${() => pages.next(nextCursor)}>Next<//>
  </div>`;
}

const kindOf = ({ number, wide }) => [number && "number", wide && "wide"].filter(Boolean).join(" ");

// --- values ---

const DIGITS = new Intl.NumberFormat("en-US", { maximumFractionDigits: 6 });
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const MINUTE = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const THIS_YEAR = new Intl.DateTimeFormat("en-US", MINUTE);
const OTHER_YEAR = new Intl.DateTimeFormat("en-US", { ...MINUTE, year: "numeric" });
const AGO = new Intl.RelativeTimeFormat("en-US", { style: "short" });
// Each unit, its length in seconds, and how many of them a time must be away.
const STEPS = [["year", 31_557_600, 2], ["month", 2_629_800, 3], ["day", 86_400, 1], ["hour", 3_600, 1], ["minute", 60, 1]];

// 1,234,567. A number too large for a browser to hold exactly is marked as approximate.
export function digits(value) {
  if (value === undefined || value === null) return "–";
  return (Math.abs(value) > Number.MAX_SAFE_INTEGER ? "≈ " : "") + DIGITS.format(value).replace("-", "−");
}

export const short = (value) => SHORT.format(value).replace("-", "−");
export const Credits = ({ of, signed }) => html`<span class="digits">${signed && of > 0 && "+"}${digits(of)}</span>`;

// A time as text: "in 3 days", "5 min. ago".
export function ago(value, now = Date.now()) {
  const seconds = (new Date(value) - now) / 1000;
  const [unit, size] = STEPS.find(([, each, least]) => Math.abs(seconds) >= each * least) ?? ["second", 1];
  return unit === "second" ? "now" : AGO.format(Math.trunc(seconds / size), unit);
}

// A time in the reader's zone: Nov 26, 06:23; with the year unless it is this year.
export function exact(value) {
  const time = new Date(value);
  return (time.getFullYear() === new Date().getFullYear() ? THIS_YEAR : OTHER_YEAR).format(time);
}

// A time: exact in the reader's zone, and relative to now. `at` is ISO-8601 or epoch milliseconds.
export const When = ({ at, never = "–" }) => at === undefined || at === null ? never
  : html`<time datetime=${new Date(at).toISOString()} title=${new Date(at).toISOString()}><span class="nowrap">${exact(at)}</span> <span class="quiet">${ago(at)}</span></time>`;

export const Badge = ({ tone, children }) => html`<span class="badge ${tone ?? ""}">${children}</span>`;

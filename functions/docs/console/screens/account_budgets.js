// The budgets of an account: how much of each is committed, and when it resets.

import { html } from "../preact.js";
import { path, request } from "../api.js";
import { Bars } from "../chart.js";
import { Empty, Loaded, Pager, Section, ago, digits, exact, useLoad, usePages } from "../ui.js";

const ROWS = 20;

export default function Budgets({ account }) {
  const pages = usePages([account.id]);
  const list = useLoad(() => request("GET", path`budgets/${account.id}`, { query: { limit: ROWS, cursor: pages.cursor } }), [account.id, pages.cursor]);
  return html`<${Section} title="Budgets"><${Loaded} of=${list}>${({ data, nextCursor }) => html`
    ${data.budgets.length ? html`<${Bars} label="Committed credits of each budget" of=${data.budgets.map(barOf)} />` : html`<${Empty}>No budget limits this account.<//>`}
    <${Pager} pages=${pages} nextCursor=${nextCursor} />`}<//><//>`;
}

function barOf(budget) {
  const { subject, committedCredits: committed, limitCredits: limit } = budget;
  return {
    label: nameOfSubject(subject),
    value: committed ?? 0,
    of: limit,
    tone: committed >= limit ? "bad" : committed * 100 >= limit * Math.min(80, ...budget.warnAtPercent) ? "warn" : "",
    figure: committed === undefined ? html`<span class="digits">${digits(limit)}</span> each` : html`<span class="digits">${digits(committed)} of ${digits(limit)}</span>`,
    note: [
      committed === undefined ? "Counts each member separately" : `${digits(budget.remainingCredits)} left`,
      budget.resetsAt ? `resets ${ago(budget.resetsAt)}, ${exact(budget.resetsAt)}` : "never resets",
      budget.window === "total" ? "in total" : `each ${budget.window}, ${budget.timeZone}`,
      budget.warnAtPercent.length > 0 && `warns at ${budget.warnAtPercent.map((each) => `${each}%`).join(", ")}`,
      budget.fromAdministrator && "set by an administrator",
    ].filter(Boolean).join(" · "),
  };
}

export function nameOfSubject(subject) {
  if (subject === "members") return "Each member without a budget of their own";
  return subject.startsWith("member:") ? `Member ${subject.slice(7)}` : `API key ${subject.slice(4)}`;
}

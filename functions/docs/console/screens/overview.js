// The whole service: credits by day, tokens by class, live sessions, and the credits that are outstanding.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Bars, Chart, seriesOf } from "../chart.js";
import { href } from "../router.js";
import { Credits, Empty, Failed, Figures, Loaded, Screen, Section, Table, Tabs, When, digits, useLoad } from "../ui.js";

const PERIODS = [7, 30, 90], DAY = 86_400_000, ROWS = 10, LIVE = 100;
const KINDS = [["model", "Model"], ["service", "Service"], ["account", "Account"], ["user", "User"]];
// Input and output have all tokens whose class is known. The classes after each of these two are parts of it.
const CLASSES = [
  ["input", "Input"], ["cachedInput", "of which cached"], ["cacheWrite", "cache writes"], ["cacheWrite1h", "cache writes for 1 h"], ["inputAudio", "audio"],
  ["output", "Output"], ["reasoning", "of which reasoning"], ["outputAudio", "audio"], ["unclassified", "Without a class"],
];

export default function Overview({ query }) {
  const days = PERIODS.find((each) => String(each) === query.days) ?? 30;
  const kind = KINDS.find(([name]) => name === query.by) ?? KINDS[0];
  const [now] = useState(Date.now);
  const labels = Array.from({ length: days }, (_, at) => new Date(now - (days - 1 - at) * DAY).toISOString().slice(0, 10));
  // Each series is asked for alone, without the users and names of the whole answer: they take longer than the rest.
  const asked = { by: kind[0], startDate: labels[0], endDate: labels.at(-1), top: 0 };
  const usage = useLoad(async () => (await request("GET", "usage/system", { query: asked })).data, [asked]);
  // The tokens come with the series of models. If the chart shows another series, a second request follows the first.
  const waits = kind[0] === "model" || usage.loading;
  const later = useLoad(async () => (waits ? undefined : (await request("GET", "usage/system", { query: { ...asked, by: "model" } })).data), [days, waits]);
  const ofModels = kind[0] === "model" ? usage : later;
  const live = useLoad(() => request("GET", "streaming-sessions/active/all", { query: { limit: LIVE } }));
  const outstanding = useLoad(async () => (await request("GET", "credits/outstanding")).data);
  const address = (change) => href("overview", { days, by: kind[0], ...change });
  const periods = PERIODS.map((each) => ({ label: `${each} days`, href: address({ days: each }), current: each === days }));
  return html`<${Screen} title="Overview" actions=${html`<${Tabs} label="Period" of=${periods} />`}>
    <${Now} live=${live} outstanding=${outstanding} />
    <${Section} title="Credits used" note="Days are in UTC." actions=${html`<${Tabs} label="By" of=${KINDS.map(([name, label]) => (
      { label: `By ${label.toLowerCase()}`, href: address({ by: name }), current: name === kind[0] }))} />`}>
      <${Loaded} of=${usage}>${(data) => html`
        <${Figures} of=${[
          { label: `Credits in ${days} days`, value: html`<${Credits} of=${data.totalCredits} />` },
          { label: "Records", value: html`<${Credits} of=${data.totalRecords} />` },
          data.asOf && { label: "Newest record", value: html`<${When} at=${data.asOf} />` },
        ]} small />
        <${Chart} title="Credits by day and ${kind[0]}" file="credits-by-day-and-${kind[0]}.csv" labels=${labels} series=${seriesOf(data.series, labels)} />
        <${Ranking} kind=${kind} data=${data} />`}<//>
    <//>
    <div class="columns">
      <${Section} title="Tokens by class"><${Loaded} of=${ofModels}>${(data) => html`<${Tokens} data=${data} />`}<//><//>
      <${Section} title="Credits by the month in which they expire"><${Loaded} of=${outstanding}>${(data) => html`<${Expiring} of=${data} />`}<//><//>
    </div>
  <//>`;
}

function Now({ live, outstanding }) {
  const sums = outstanding.data?.asOf && outstanding.data;
  return html`<${Section} title="Now"><${Figures} of=${[
    { label: "Live sessions", value: live.data ? html`<a href=${href("sessions")}>${digits(live.data.data.length)}${live.data.nextCursor && " or more"}</a>` : live.error ? "–" : "…" },
    sums && { label: "Credits to spend", value: html`<${Credits} of=${sums.availableCredits} />` },
    sums && { label: "Held", value: html`<${Credits} of=${sums.heldCredits} />` },
    sums && { label: "Debt", value: html`<${Credits} of=${sums.debt} />`, tone: sums.debt > 0 ? "warn" : "" },
    sums && { label: "Accounts", value: html`<${Credits} of=${sums.accounts} />` },
    sums && { label: "Accounts with drift", value: html`<${Credits} of=${sums.driftingAccounts} />`, tone: sums.driftingAccounts > 0 ? "bad" : "" },
  ]} />
  ${live.error && html`<${Failed} error=${live.error} again=${live.reload} />`}
  ${sums && html`<p class="quiet">All but the sessions are from the auditor's last complete run, <${When} at=${sums.asOf} />.</p>`}
  ${sums?.drifting.length > 0 && html`<p>Drift in ${sums.drifting.map((account, at) => html`${at > 0 && ", "}<${Account} id=${account} />`)}.</p>`}
  ${sums?.unprovedAccounts > 0 && html`<p>${digits(sums.unprovedAccounts)} accounts could not be checked. The auditor's log says why.</p>`}<//>`;
}

function Account({ id }) {
  const [kind, name] = [id.slice(0, id.indexOf(":")), id.slice(id.indexOf(":") + 1)];
  return html`<a href=${href(kind === "org" ? "organizations" : "people", name)}>${id}</a>`;
}

// The names with the most credits, as many as the series has.
function Ranking({ kind: [kind, label], data }) {
  const rest = sumOf(data.series.other);
  const rows = Object.entries(data.series.names).map(([name, days]) => [name, sumOf(days)]);
  const named = { account: Account, user: ({ id }) => html`<a href=${href("people", id)}>${id}</a>` }[kind] ?? (({ id }) => id);
  return html`<div class="rows">
    <${Table} caption="Most credits by ${kind}" rows=${rows} empty="Nothing was used in this period." columns=${[
      { label, wide: true, show: ([name]) => html`<${named} id=${name} />` },
      { label: "Credits", number: true, show: ([, sum]) => html`<${Credits} of=${sum} />` },
      { label: "Share", number: true, show: ([, sum]) => percent(sum, data.totalCredits) },
    ]} />
    ${rest > 0 && html`<p class="quiet">${kind === "model" ? "Other models, and usage that counts for no model," : `Other ${kind}s`} used <${Credits} of=${rest} /> credits.</p>`}
  </div>`;
}

const sumOf = (days) => Object.values(days).reduce((sum, credits) => sum + credits, 0);
const percent = (part, whole) => (whole > 0 ? `${((part / whole) * 100).toFixed(1)} %` : "–");

function Tokens({ data }) {
  const classes = CLASSES.filter(([name]) => data.tokens[name]);
  const models = Object.entries(data.tokensByModel).sort(([one], [other]) => (data.byModel[other] ?? 0) - (data.byModel[one] ?? 0));
  if (!classes.length) return html`<${Empty}>No tokens were reported in this period.<//>`;
  return html`<${Table} caption="Tokens by class and model" rows=${[["All", data.tokens], ...models.slice(0, ROWS)]} columns=${[
    { label: "Model", wide: true, show: ([name]) => name },
    ...classes.map(([name, label]) => ({ label, number: true, show: ([, counts]) => html`<${Credits} of=${counts[name] ?? 0} />` })),
  ]} />`;
}

function Expiring({ of }) {
  if (!of.asOf) return html`<${Empty}>The auditor has not finished its first run. It adds this up every hour.<//>`;
  const months = of.expiring.map(({ month, credits }) => ({ label: month, value: credits }));
  if (of.expiringLater) months.push({ label: "later", value: of.expiringLater });
  return months.length ? html`<${Bars} label="Credits by month of expiry" of=${months} />` : html`<${Empty}>No account has credits to spend.<//>`;
}

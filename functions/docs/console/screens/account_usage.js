// What a person used, or what an organization paid for: by day, model and service, and the newest records.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { Bars, Chart, seriesOf } from "../chart.js";
import { Button, Credits, Empty, Figures, Loaded, Section, Table, When, digits, useLoad } from "../ui.js";

const PERIODS = [7, 30, 90], NAMES = 20, DAY = 86_400_000;
const CLASSES = [["input", "Input"], ["cachedInput", "of which cached"], ["output", "Output"], ["reasoning", "of which reasoning"], ["unclassified", "Without a class"]];

const dayOf = (at) => new Date(at).toISOString().slice(0, 10);

export default function Usage({ account }) {
  const [days, setDays] = useState(30);
  const [now] = useState(Date.now);
  const labels = Array.from({ length: days }, (_, at) => dayOf(now - (days - 1 - at) * DAY));
  const usage = useLoad(() => statisticsOf(account, labels[0], labels.at(-1)), [account.id, days]);
  const periods = PERIODS.map((each) => html`<${Button} aria-pressed=${String(each === days)} onClick=${() => setDays(each)}>${each} days<//>`);
  return html`<${Section} title="Usage" actions=${periods} note="Days are in UTC."><${Loaded} of=${usage}>${(data) => html`
      <${Figures} of=${[
        { label: "Credits", value: html`<${Credits} of=${data.totalCredits} />` },
        { label: "Records", value: digits(data.totalRecords) },
        ...CLASSES.filter(([name]) => data.tokens[name]).map(([name, label]) => ({ label, value: html`<${Credits} of=${data.tokens[name]} />`, note: "tokens" })),
      ]} />
      <${Chart} title="Credits by day and model" file="usage-${account.userId ?? account.organizationId}.csv" labels=${labels} series=${seriesOf(data.series, labels)} />
      <div class="columns">
        <${Names} title="By model" of=${data.byModel} />
        <${Names} title="By service" of=${data.byService} />
      </div>
      <${Recent} records=${data.recentActivity} />`}<//><//>`;
}

async function statisticsOf(account, startDate, endDate) {
  const query = { startDate, endDate, by: "model" };
  const asked = account.userId ? request("GET", path`usage/stats/${account.userId}`, { query })
    : request("GET", "usage/stats", { query: { ...query, accountId: account.id } });
  return (await asked).data;
}

function Names({ title, of }) {
  const sorted = Object.entries(of).sort(([, one], [, other]) => other - one);
  const rest = sorted.slice(NAMES);
  return html`<div class="rows">
    <h3>${title}</h3>
    ${sorted.length ? html`<${Bars} label=${title} of=${sorted.slice(0, NAMES).map(([label, value]) => ({ label, value }))} />` : html`<${Empty}>Nothing was used.<//>`}
    ${rest.length > 0 && html`<p class="quiet">${digits(rest.length)} more with ${digits(rest.reduce((sum, [, value]) => sum + value, 0))} credits.</p>`}
  </div>`;
}

const Recent = ({ records }) => html`<${Table} caption="Newest records" hidden=${false} rows=${records} empty="There are no records in this period." columns=${[
  { label: "When", show: (each) => html`<${When} at=${each.timestamp} />` },
  { label: "Service", show: (each) => each.service },
  { label: "Operation", wide: true, show: (each) => html`${each.operation}${each.modelId && each.modelId !== each.operation && html`<br />${each.modelId}`}` },
  { label: "Credits", number: true, show: (each) => html`<${Credits} of=${each.credits} />` },
  { label: "Metadata", wide: true, show: (each) => (Object.keys(each.metadata).length ? html`<code>${JSON.stringify(each.metadata)}</code>` : "–") },
]} />`;

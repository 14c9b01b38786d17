// The whole service: the credits used by day.

import { html } from "../preact.js";
import { request } from "../api.js";
import { Chart } from "../chart.js";
import { Loaded, Screen, Section, Tabs, digits, useLoad } from "../ui.js";
import { href } from "../router.js";

const DAYS = ["7", "30", "90"];

export default function Overview({ query }) {
  const days = DAYS.includes(query.days) ? Number(query.days) : 30;
  const [from, to] = [days - 1, 0].map((back) => new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10));
  const usage = useLoad(async () => (await request("GET", "usage/system", { query: { startDate: from, endDate: to } })).data, [from, to]);
  return html`<${Screen} title="Overview" actions=${html`<${Tabs} label="Period" of=${DAYS.map((each) => ({
    label: `${each} days`, href: href("overview", { days: each }), current: Number(each) === days,
  }))} />`}>
    <${Section} title="Credits by day"><${Loaded} of=${usage}>${(data) => html`
      <p>${digits(data.totalCredits)} credits in ${digits(data.totalRecords)} records.</p>
      <${Chart} title="Credits by day" file="credits-by-day.csv" labels=${daysFrom(from, days)}
        series=${[{ name: "credits", values: daysFrom(from, days).map((day) => data.byDay[day] ?? 0) }]} />`}<//><//>
  <//>`;
}

const daysFrom = (first, count) => Array.from({ length: count }, (_, at) => new Date(Date.parse(first) + at * 86_400_000).toISOString().slice(0, 10));

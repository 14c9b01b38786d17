// A run of an account, found by its id: its limit, what it spent, and the switch that stops it.

import { html, useEffect, useState } from "../preact.js";
import { path, request } from "../api.js";
import { Bars } from "../chart.js";
import { Badge, Button, Command, Credits, Failed, Field, Figures, Section, When, digits } from "../ui.js";

// `asked` is the id of the run to show first.
export default function Runs({ account, asked = "" }) {
  const [runId, setRunId] = useState(asked);
  const [state, setState] = useState({});
  const load = async (wanted) => {
    setState((before) => ({ ...before, busy: true }));
    try {
      setState({ run: (await request("GET", path`runs/${account.id}/${wanted}`)).data });
    } catch (error) {
      setState({ error });
    }
  };
  useEffect(() => { if (asked) load(asked); }, []);
  const submitted = (event) => {
    event.preventDefault();
    if (!state.busy && runId.trim()) load(runId.trim());
  };
  return html`<${Section} title="Runs" note="Ledger entries and sessions name the run that they count for.">
    <form class="inline" onSubmit=${submitted}>
      <${Field} label="Run id" value=${runId} onInput=${setRunId} />
      <button type="submit" class="primary" disabled=${state.busy || !runId.trim()}>Show</button>
    </form>
    ${state.error && html`<${Failed} error=${state.error} />`}
    ${state.run && html`<${Run} of=${state.run} reload=${() => load(state.run.runId)} />`}
  <//>`;
}

function Run({ of, reload }) {
  const [stopping, setStopping] = useState(false);
  const active = of.status === "active";
  const metadata = Object.keys(of.metadata).length > 0;
  return html`
    <div class="top"><h3>${of.runId}</h3>${active && html`<${Button} kind="danger" onClick=${() => setStopping(true)}>Stop<//>`}</div>
    <${Figures} of=${[
      { label: "State", value: html`<${Badge} tone=${active ? "good" : ""}>${of.status}<//>` },
      { label: "Spent", value: html`<${Credits} of=${of.spentCredits} />` },
      { label: "Sessions", value: digits(of.sessions) },
      { label: "Records", value: digits(of.records) },
    ]} />
    <${Bars} label="The limit of the run" of=${[{
      label: "Held and spent", value: of.committedCredits, of: of.limitCredits, tone: of.remainingCredits ? "" : "bad",
      figure: html`<span class="digits">${digits(of.committedCredits)} of ${digits(of.limitCredits)}</span>`, note: `${digits(of.remainingCredits)} left`,
    }]} />
    <p class="quiet">Made by ${of.userId} <${When} at=${of.createdAt} />. ${of.stoppedAt ? html`Stopped <${When} at=${of.stoppedAt} />.` : html`It expires <${When} at=${of.expiresAt} />.`}</p>
    ${Object.keys(of.byModel).length > 0 && html`<${Bars} label="Credits by model" of=${Object.entries(of.byModel).map(([label, value]) => ({ label, value }))} />`}
    ${metadata && html`<p class="quiet">Metadata: <code>${JSON.stringify(of.metadata)}</code></p>`}
    ${stopping && html`<${Command} title="Stop the run ${of.runId}" submit="Stop the run" kind="danger" onDone=${reload} onClose=${() => setStopping(false)}
      send=${() => request("POST", path`runs/${of.accountId}/${of.runId}/stop`)} done=${({ data }) => `The run ${data.runId} admits nothing new.`}>
      <p>The run admits nothing new. Its open sessions still settle. A run that was stopped cannot continue.</p>
    <//>`}`;
}

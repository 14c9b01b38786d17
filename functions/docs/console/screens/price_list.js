// A pasted list of price rules, as JSON or CSV, turned into what the import route takes.

import { CLASSES } from "./price_rates.js";

const RATES = CLASSES.map(([name]) => name);
const WHOLE = ["maxOutputTokens"];

// The rules in a text. Throws an Error that says what is wrong with it.
export function rulesIn(text) {
  return /^\s*[[{]/.test(text) ? rulesInJson(text) : rulesInCsv(text);
}

function rulesInJson(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new Error(`The list is not JSON: ${error.message}`);
  }
  const rules = Array.isArray(found) ? found : found.rules ?? [found];
  if (!Array.isArray(rules)) throw new Error("The list is not JSON of the form [rule, …] or {\"rules\": [rule, …]}.");
  return rules;
}

function rulesInCsv(text) {
  const [names = [], ...rows] = rowsOf(text);
  if (!names.includes("modelId")) throw new Error("The first line of a CSV names the fields, and one of them is modelId.");
  if (!rows.length) throw new Error("The list has no rules.");
  return rows.map((cells, at) => {
    if (cells.length > names.length) throw new Error(`Line ${at + 2} has more cells than the first line has names.`);
    return ruleOf(names.map((name, each) => [name, (cells[each] ?? "").trim()]).filter(([, cell]) => cell));
  });
}

// A column of a class is one of the rates; aliases are separated by spaces.
function ruleOf(cells) {
  const rule = {}, rates = {};
  for (const [name, cell] of cells) {
    if (RATES.includes(name)) rates[name] = cell;
    else if (name === "aliases") rule.aliases = cell.split(/\s+/);
    else rule[name] = WHOLE.includes(name) && /^\d+$/.test(cell) ? Number(cell) : cell;
  }
  return Object.keys(rates).length ? { ...rule, rates } : rule;
}

// The cells of each line that is not empty. A cell in quotes may have commas, line breaks and doubled quotes.
function rowsOf(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.trim().matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "") break;
    if (end !== ",") rows.push([]);
  }
  return rows.filter((row) => row.some((cell) => cell.trim()));
}

({figure, data, make, row, named, choice, said}) => {
  const table = figure.querySelector("table"), body = table.tBodies[0], rows = [...body.rows];
  const text = (line, column) => line.cells[column].textContent;
  const number = cell => parseFloat(cell.replaceAll(",", ""));
  const heads = [...table.tHead.rows[0].cells], every = "all";

  // Numbers by size, words by the alphabet; what is no number comes after those that are.
  function compare(a, b) {
    const x = number(a), y = number(b);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b, "en");
    return x - y || a.localeCompare(b, "en");
  }
  const chosen = data.filters.map(column => {
    const values = [...new Set(rows.map(line => text(line, column)))].sort(compare);
    const control = choice([every, ...values].map(value => [value, value]), show);
    return {column, control, label: named(heads[column].textContent, control)};
  });
  const word = make("input", {type: "search", placeholder: "a word", oninput: show});
  function show() {
    const sought = word.value.toLowerCase();
    const kept = rows.filter(line => {
      line.hidden = !line.textContent.toLowerCase().includes(sought) ||
        chosen.some(({column, control}) => control.value !== every && text(line, column) !== control.value);
      return !line.hidden;
    });
    said.textContent = `${kept.length} of ${rows.length} rows`;
  }
  let sorted = -1, down = false;
  function sort(column) {
    down = column === sorted && !down;
    sorted = column;
    rows.sort((a, b) => (down ? -1 : 1) * compare(text(a, column), text(b, column)));
    body.append(...rows);
    heads.forEach((head, k) => head.setAttribute("aria-sort", k !== column ? "none" : down ? "descending" : "ascending"));
  }
  heads.forEach((head, k) => {
    head.replaceChildren(make("button", {type: "button", onclick: () => sort(k)}, head.textContent));
  });
  const box = make("div", {className: "scroll tall", tabIndex: 0, role: "region", ariaLabel: "the table"}, table);
  figure.append(row(...chosen.map(({label}) => label), named("holds", word)), said, box);
  figure.append(make("style", {textContent: `
    .fcn-playground .tall{max-height:28em;overflow:auto;margin:.3em 0}
    .fcn-playground table.sorted{border-collapse:collapse;width:100%;font-size:.85em;margin:0}
    .fcn-playground table.sorted th,.fcn-playground table.sorted td{padding:.15em .5em;text-align:left;vertical-align:top}
    .fcn-playground table.sorted tr[hidden]{display:none}
    .fcn-playground table.sorted tbody tr{border-top:1px solid #8884}
    .fcn-playground table.sorted th button{font:inherit;font-weight:bold;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:left}
    .fcn-playground table.sorted th[aria-sort=ascending] button::after{content:" ↑"}
    .fcn-playground table.sorted th[aria-sort=descending] button::after{content:" ↓"}`}));
  for (const [column, value] of data.start) chosen.find(c => c.column === column).control.value = value;
  show();
}

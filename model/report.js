// The page works without this script; with it, pointer and arrow keys show numbers, and layers can be chosen.
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const tip = document.getElementById('tip');
  const number = (v) => {
    const size = Math.abs(v);
    if (v === 0) return '0';
    if (size >= 1e15 || size < 1e-4) return v.toExponential(2);
    if (Number.isInteger(v) || size >= 1e4) return Math.round(v).toLocaleString('en-US');
    return String(Number(v.toPrecision(4)));
  };
  const percent = (v) => (100 * v).toFixed(v < 0.1 ? 2 : 1) + ' %';
  const make = (tag, text, parent) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };

  // Shows lines of text beside a place of the window. The first is the heading.
  function showTip(lines, x, y) {
    tip.replaceChildren();
    lines.forEach((line, i) => make(i ? 'div' : 'b', line, tip));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth ? x - 14 - box.width : x + 14;
    tip.style.left = Math.max(4, left) + 'px';
    tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - box.height - 4)) + 'px';
  }
  const hideTip = () => { tip.hidden = true; };

  // --- figures: what stands at a place, in the plot's own units ---
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const columnSum = (f, c) => sum(f.values.map((row) => row[c]));

  function nearest(points, step) {
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < step) low = middle + 1; else high = middle;
    }
    return low > 0 && step - points[low - 1][0] < points[low][0] - step ? points[low - 1] : points[low];
  }

  // The steps, each alone in a list, at which any of the curves has a point: a run may be longer than the first.
  const stepsOf = (curves) => [...new Set(curves.flatMap((c) => c.points.map((p) => p[0])))]
    .sort((a, b) => a - b).map((step) => [step]);

  // Each kind of figure: lines(f, x, y) tells what to say, keys(f) where the arrow keys go.
  const kinds = {
    lines(f, x, y) {
      const step = nearest(f.steps, x)[0];
      const found = f.curves.map((c) => ({label: c.label, point: nearest(c.points, step)}));
      found.sort((a, b) => Math.abs(a.point[1] - y) - Math.abs(b.point[1] - y));
      const shown = f.curves.length > 8 ? found.slice(0, 8) : found;
      return ['step ' + number(step), ...shown.map((s) =>
        (s.label ? s.label + ': ' : '') + number(s.point[1]) +
        (s.point[0] === step ? '' : ' (step ' + number(s.point[0]) + ')'))];
    },
    load(f, x, y) {
      const w = f.columns.findIndex((c) => x < c[1]), e = rowOf(f, y);
      const column = w < 0 ? f.columns.length - 1 : w, count = f.values[e][column], all = columnSum(f, column);
      const [first, end] = f.columns[column];
      return ['expert ' + e, 'steps ' + number(first) + ' to ' + number(end - 1), number(count) + ' assignments',
        percent(count / all) + ', ' + (count * f.values.length / all).toFixed(2) + '× the even share'];
    },
    together(f, x, y) {
      const i = rowOf(f, y), j = Math.max(0, Math.min(f.load.length - 1, Math.floor(x)));
      if (i === j) return ['expert ' + i, number(f.load[i]) + ' assignments'];
      const expected = f.scale * f.load[i] * f.load[j];
      return ['experts ' + i + ' and ' + j, number(f.values[i][j]) + ' tokens together',
        expected > 0 ? (f.values[i][j] / expected).toFixed(2) + '× what their loads give' : ''];
    },
    symbols(f, x, y) {
      const e = rowOf(f, y), s = Math.max(0, Math.min(f.names.length - 1, Math.floor(x)));
      const tokens = columnSum(f, s) / f.top_k;
      return [f.names[s] + ' to expert ' + e, number(f.values[e][s]) + ' of ' + number(tokens) + ' tokens',
        tokens > 0 ? percent(f.values[e][s] / tokens) : ''];
    },
  };
  // Rows of a table go downwards: row 0 has the largest y.
  function rowOf(f, y) {
    return Math.max(0, Math.min(f.values.length - 1, f.values.length - 1 - Math.floor(y)));
  }

  function attach(figure) {
    const f = data.figures[figure.dataset.figure], svg = figure.querySelector('svg');
    const {box, x: [x0, x1], y: [y0, y1]} = f.axes;
    if (f.kind === 'lines') f.steps = stepsOf(f.curves);
    const cross = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    cross.setAttribute('class', 'cross');
    let at = null;  // in the plot's units

    function show(x, y) {
      at = [x, y];
      const px = box[0] + box[2] * (x - x0) / (x1 - x0), py = box[1] + box[3] * (y1 - y) / (y1 - y0);
      cross.setAttribute('d', f.kind === 'lines' ? `M${px} ${box[1]}v${box[3]}` : `M${px - 4} ${py}h8M${px} ${py - 4}v8`);
      svg.append(cross);
      const place = new DOMPoint(px, py).matrixTransform(svg.getScreenCTM());
      showTip(kinds[f.kind](f, x, y), place.x, place.y);
    }
    function hide() {
      cross.remove();
      hideTip();
    }
    svg.addEventListener('pointermove', (event) => {
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const x = x0 + (p.x - box[0]) / box[2] * (x1 - x0), y = y1 - (p.y - box[1]) / box[3] * (y1 - y0);
      if (x < x0 || x > x1 || y < y0 || y > y1) return hide();
      show(f.kind === 'lines' ? nearest(f.steps, x)[0] : x, y);
    });
    svg.addEventListener('pointerleave', hide);
    figure.addEventListener('blur', hide);
    figure.addEventListener('keydown', (event) => {
      const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
      if (!move || event.target !== figure) return;
      event.preventDefault();
      const columns = f.kind === 'lines' ? 100 : f.kind === 'load' ? f.columns.length : f.values[0].length;
      const across = (x1 - x0) / columns, down = f.kind === 'lines' ? (y1 - y0) / 20 : 1;
      const [x, y] = at || [x0 - across / 2, y1 - down / 2];
      const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
      show(clamp(x + move[0] * across, x0 + across / 2, x1 - across / 2),
        clamp(y + move[1] * down, y0 + down / 2, y1 - down / 2));
    });
    const details = figure.querySelector('details');
    details.addEventListener('toggle', () => {
      if (details.open && !details.querySelector('table')) details.append(table(f));
    });
  }

  function table(f) {
    const result = make('table');
    const add = (tag, cells) => {
      const row = make('tr', undefined, result);
      cells.forEach((c) => make(tag, c, row));
    };
    if (f.kind === 'lines') {
      add('th', ['step', ...f.curves.map((c) => c.label || 'value')]);
      const values = f.curves.map((c) => new Map(c.points));
      f.steps.forEach(([step]) => add('td', [number(step), ...values.map((v) =>
        v.has(step) ? number(v.get(step)) : '')]));
    } else {
      add('th', ['expert', ...(f.names || (f.columns || f.load).map((c, i) => f.columns ? 'step ' + c[0] : i))]);
      f.values.forEach((row, e) => add('td', [e, ...row.map(number)]));
    }
    const scroll = make('div');
    scroll.className = 'scroll';
    scroll.append(result);
    return scroll;
  }
  document.querySelectorAll('figure[data-figure]').forEach(attach);

  // --- layers ---
  // Radio buttons of a fieldset choose which of the panels behind it is seen.
  document.querySelectorAll('fieldset[data-panels]').forEach((tabs) => {
    const panels = document.querySelectorAll('[data-panel="' + tabs.dataset.panels + '"]');
    const choose = () => {
      const layer = tabs.querySelector('input:checked').value;
      panels.forEach((p) => { p.hidden = p.dataset.layer !== layer; });
    };
    tabs.addEventListener('change', choose);
    choose();
    tabs.hidden = false;
  });

  // --- the routing map ---
  const map = data.map, text = document.getElementById('map-text');
  if (!map) return;
  const tokens = [...text.querySelectorAll('i')], tabs = document.getElementById('map-layers');
  let layer = map.expert.length - 1, only = null, current = -1;
  const chosen = (t) => map.expert[layer].slice(t * map.top_k, (t + 1) * map.top_k);

  function paint() {
    tokens.forEach((token, t) => {
      const experts = chosen(t);
      token.className = 'e' + experts[0] + (only !== null && !experts.includes(only) ? ' dim' : '');
    });
  }
  function showToken(t) {
    if (tokens[current]) tokens[current].classList.remove('at');
    current = t;
    if (t < 0) return hideTip();
    tokens[t].classList.add('at');
    const box = tokens[t].getBoundingClientRect();
    const gates = map.gate[layer].slice(t * map.top_k, (t + 1) * map.top_k);
    showTip([map.names[t] + ', layer ' + layer, ...chosen(t).map((e, j) =>
      'expert ' + e + ': ' + (gates[j] / 10).toFixed(1) + ' %')], box.right - 8, box.bottom - 8);
  }
  text.addEventListener('pointerover', (event) => showToken(tokens.indexOf(event.target)));
  text.addEventListener('pointerleave', () => showToken(-1));
  text.addEventListener('blur', () => showToken(-1));
  text.addEventListener('keydown', (event) => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!move) return;
    event.preventDefault();
    showToken(Math.max(0, Math.min(tokens.length - 1, current + move)));
  });
  tabs.addEventListener('change', () => {
    layer = Number(tabs.querySelector('input:checked').value);
    paint();
  });
  tabs.hidden = false;
  document.querySelectorAll('#map-experts button').forEach((button) => {
    button.disabled = false;
    button.addEventListener('click', () => {
      const expert = Number(button.value);
      only = only === expert ? null : expert;
      document.querySelectorAll('#map-experts button').forEach((b) =>
        b.setAttribute('aria-pressed', String(Number(b.value) === only)));
      paint();
    });
  });
})();

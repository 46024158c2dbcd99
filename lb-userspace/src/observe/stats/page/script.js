'use strict';
// Without this script the page is complete and draws itself anew. With it the page follows: it asks for the live part and
// changes what has changed, so that whatever is chosen, focused, folded or scrolled to stays. Needs nothing else.
(() => {
  const EVERY = 2000;
  const $ = (id) => document.getElementById(id);
  const kept = {
    get: (key) => { try { return sessionStorage.getItem('lb.' + key); } catch { return null; } },
    set: (key, value) => { try { sessionStorage.setItem('lb.' + key, value); } catch { /* forgotten, then */ } },
  };
  const folded = new Set(JSON.parse(kept.get('folded') || '[]'));
  const order = JSON.parse(kept.get('order') || 'null') || { column: -1, down: true };
  const filter = $('filter');
  const states = $('states');
  const pause = $('pause');
  const state = $('state');
  const range = $('range-hour');

  // A cell's text as something that can be compared: 1 234, 1.2 MB, 3d4h, 6s UP, Y.
  const UNITS = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15, EB: 1e18 };
  const SECONDS = { d: 86400, h: 3600, m: 60, s: 1 };
  const value = (text) => {
    const plain = text.replaceAll('\u202f', '').trim();
    const bytes = /^([\d.]+)([kMGTPE]?B)$/.exec(plain);
    if (bytes) return Number(bytes[1]) * UNITS[bytes[2]];
    if (/^(\d+[dhms])+$/.test(plain)) {
      return [...plain.matchAll(/(\d+)([dhms])/g)].reduce((sum, part) => sum + part[1] * SECONDS[part[2]], 0);
    }
    const number = /^-?[\d.]+( ?%)?$/.exec(plain);
    if (number) return parseFloat(plain);
    return plain.replace(/^(\d+[dhms])+ /, '').toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    if (a === '' || b === '') return a === '' ? -1 : 1;
    return typeof a === 'number' ? -1 : 1;
  };
  const name = (row) => row.cells[0].textContent;
  // Long tables begin with their first rows; of each, how many are wanted by now.
  const cuts = matchMedia('(scripting: enabled)').matches;
  const wished = new Map();
  const limit = (proxy, rest) => (cuts && rest ? wished.get(proxy.id) || Number(rest.dataset.first) : Infinity);
  const more = (rest, rows) => {
    const proxy = rest.closest('.proxy');
    wished.set(proxy.id, limit(proxy, rest) + rows);
    again();
  };
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) more(target, 200);
  }, { rootMargin: '800px' });

  // Brings a part of the page, present or to come, into the form that the reader has chosen.
  const prepare = (root) => {
    const words = filter ? filter.value.trim().toLowerCase() : '';
    const wanted = states ? states.value : '';
    for (const proxy of root.querySelectorAll('.proxy')) {
      proxy.open = !folded.has(proxy.id);
      const heads = proxy.querySelectorAll('thead tr:last-child th');
      if (!heads[0].firstElementChild) {
        for (const [column, head] of heads.entries()) {
          const button = document.createElement('button');
          button.type = 'button';
          button.dataset.column = column;
          button.append(...head.childNodes);
          head.append(button);
        }
      }
      for (const [column, head] of heads.entries()) {
        if (column === order.column) head.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
        else head.removeAttribute('aria-sort');
      }
      const body = proxy.querySelector('tbody');
      const rows = [...body.rows];
      const servers = rows.filter((row) => !/frontend|backend/.test(row.className));
      if (order.column >= 0 && servers.length > 1) {
        const keys = new Map(servers.map((row) => [row, value(row.cells[order.column].textContent)]));
        const turn = order.down ? -1 : 1;
        servers.sort((a, b) => turn * compare(keys.get(a), keys.get(b)));
        servers.forEach((row, at) => { if (body.rows[at] !== row) body.insertBefore(row, body.rows[at]); });
      }
      const whole = proxy.querySelector('h3').textContent.toLowerCase().includes(words);
      const rest = proxy.querySelector('.rest');
      const most = limit(proxy, rest);
      let seen = 0;
      for (const row of servers) {
        const good = /^(up|backup|nocheck)/.test(row.className);
        const text = (name(row) + ' ' + row.cells[22].textContent).toLowerCase();
        const hit = (whole || text.includes(words)) && (wanted === '' || (wanted === 'good') === good);
        row.hidden = !hit;
        row.classList.toggle('later', hit && seen >= most);
        seen += hit;
      }
      if (rest) {
        rest.hidden = seen <= most;
        rest.firstElementChild.textContent = `${most} of ${seen} servers. Show all`;
      }
      const alone = servers.length === 0 && whole && (wanted === '' || wanted === proxy.dataset.state);
      const own = servers.length > 0 && wanted === '' && whole;
      proxy.hidden = !(alone || own || seen > 0);
    }
    return root;
  };

  // Makes `old` what `fresh` is, and touches only what differs.
  const attributes = (old, fresh) => {
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    }
  };
  const same = (old, fresh) => old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && old.id === fresh.id;
  const change = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    attributes(old, fresh);
    if (old.nodeName === 'TBODY') rows(old, fresh);
    else children(old, fresh);
  };
  const children = (old, fresh) => {
    const next = [...fresh.childNodes];
    next.forEach((node, at) => {
      const there = old.childNodes[at];
      if (!there) old.append(node);
      else if (same(there, node)) change(there, node);
      else there.replaceWith(node);
    });
    while (old.childNodes.length > next.length) old.lastChild.remove();
  };
  // Rows are known by their names, wherever the order has brought them.
  const rows = (old, fresh) => {
    const known = new Map([...old.rows].map((row) => [name(row), row]));
    [...fresh.rows].forEach((row, at) => {
      const there = known.get(name(row));
      known.delete(name(row));
      if (there) change(there, row);
      const place = old.rows[at];
      if (place !== (there || row)) old.insertBefore(there || row, place || null);
    });
    for (const gone of known.values()) gone.remove();
  };

  const parser = new DOMParser();
  const show = (text) => {
    const fresh = parser.parseFromString(text, 'text/html');
    const live = fresh.getElementById('live');
    if (!live) throw new Error('another page');
    children($('facts'), fresh.getElementById('facts'));
    children($('live'), prepare(live));
    for (const rest of document.querySelectorAll('.rest')) near.observe(rest);
  };

  let timer = 0;
  let failed = 0;
  const paused = () => pause.getAttribute('aria-pressed') === 'true';
  const say = (text, bad) => {
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle('bad', Boolean(bad));
  };
  const later = (millis) => { clearTimeout(timer); timer = setTimeout(look, millis); };
  const look = async () => {
    if (paused() || document.hidden) return;
    const began = performance.now();
    try {
      const signal = AbortSignal.timeout(10000);
      // Not by the page's own address, which may have a password in it: such a one is not fetched.
      const address = new URL(document.body.dataset.live, location.origin + location.pathname);
      const answer = await fetch(address, { cache: 'no-store', credentials: 'same-origin', signal });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (paused()) return;
      show(text);
      failed = 0;
      say('Live');
      // A large page is asked for less often: a twentieth of the time at most.
      later(Math.max(EVERY, 20 * (performance.now() - began)));
    } catch {
      failed += 1;
      say('No answer, trying again', true);
      later(Math.min(30000, EVERY * failed));
    }
  };

  for (const part of document.querySelectorAll('.scripted')) part.hidden = false;
  const all = () => document.querySelectorAll('.proxy');
  const again = () => {
    prepare(document);
    for (const rest of document.querySelectorAll('.rest')) near.observe(rest);
  };
  for (const [field, key] of [[filter, 'filter'], [states, 'states']]) {
    if (!field) continue;
    field.value = field.value || kept.get(key) || '';
    field.addEventListener('input', () => { kept.set(key, field.value); again(); });
  }
  $('tools').addEventListener('submit', (event) => event.preventDefault());
  range.checked = kept.get('range') === 'hour';
  for (const one of document.getElementsByName('range')) {
    one.addEventListener('change', () => kept.set('range', range.checked ? 'hour' : 'recent'));
  }
  document.addEventListener('toggle', (event) => {
    if (!event.target.classList.contains('proxy')) return;
    if (event.target.open) folded.delete(event.target.id);
    else folded.add(event.target.id);
    kept.set('folded', JSON.stringify([...folded]));
    $('fold').textContent = [...all()].some((proxy) => proxy.open) ? 'Collapse all' : 'Expand all';
  }, true);
  $('fold').addEventListener('click', () => {
    const open = [...all()].some((proxy) => proxy.open);
    for (const proxy of all()) proxy.open = !open;
  });
  document.addEventListener('click', (event) => {
    const rest = event.target.closest('.rest');
    if (rest) more(rest, Infinity);
    const button = event.target.closest('thead button');
    if (!button) return;
    const column = Number(button.dataset.column);
    // The third time it is the file's order again.
    if (order.column !== column) Object.assign(order, { column, down: column > 0 });
    else if (order.down === column > 0) order.down = !order.down;
    else order.column = -1;
    kept.set('order', JSON.stringify(order));
    if (order.column < 0) { later(0); for (const head of document.querySelectorAll('[aria-sort]')) head.removeAttribute('aria-sort'); }
    else again();
  });
  pause.addEventListener('click', () => {
    const on = !paused();
    pause.setAttribute('aria-pressed', String(on));
    kept.set('paused', on ? '1' : '');
    say(on ? 'Paused' : 'Live');
    if (!on) later(0);
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) later(0); });
  again();
  if (kept.get('paused') === '1') pause.click();
  else { say('Live'); later(EVERY); }
  // What was told once is not told again when the page is loaded again.
  if (/;st=/.test(location.href)) history.replaceState(null, '', location.href.replace(/;st=[A-Z]*/, ''));
  // The page draws itself; the browser need not.
  const stop = () => { for (const link of document.querySelectorAll('nav .plain')) link.hidden = true; window.stop(); };
  if (document.readyState === 'complete') stop(); else addEventListener('load', () => setTimeout(stop, 0));
})();

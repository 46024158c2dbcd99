// What a reader of the page of statistics meets, in Chromium. Arguments: the folder of the packages, the page of a daemon,
// its frontend, the page of one with a thousand servers, and a folder for pictures. Prints "done" if all is as it should be.
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { execFileSync } = require('node:child_process');

const [packages, stats, front, many, pictures] = process.argv.slice(2);
const { chromium } = require(path.join(packages, 'node_modules/playwright-core'));
const axe = fs.readFileSync(path.join(packages, 'node_modules/axe-core/axe.min.js'), 'utf8');
const DESKTOP = { viewport: { width: 1440, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const USER = { httpCredentials: { username: 'admin', password: 'secret' } };

const ask = async (times) => {
  for (let at = 0; at < times; at += 1) await (await fetch(front)).text();
};

const main = async (browser) => {
  const opened = async (options, address = stats) => {
    const context = await browser.newContext({ ...USER, ...options });
    const page = await context.newPage();
    page.on('pageerror', (error) => { throw error; });
    page.on('console', (message) => assert.notStrictEqual(message.type(), 'error', message.text()));
    page.loads = 0;
    page.on('load', () => { page.loads += 1; });
    await page.goto(address);
    return page;
  };
  const picture = (page, name, fullPage = true) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage });
  const accessible = async (page, name) => {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run());
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`);
    assert.deepStrictEqual(told, [], name);
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(beyond <= 0, `${name} is ${beyond} px too wide`);
  };
  const names = (page) => page.$$eval('#b-web tbody tr:not([hidden]) th', (cells) => cells.map((cell) => cell.textContent.trim().split(/\s|127/)[0]));

  // Until each server has been checked.
  const first = await opened(DESKTOP);
  await first.waitForFunction(() => document.querySelectorAll('#b-web tbody tr.up').length === 3
    && document.querySelector('#b-gone tbody tr.down'));
  await first.context().close();

  // A password in the address is the page's alone: what it asks for itself has none.
  const address = new URL(stats);
  [address.username, address.password] = ['admin', 'secret'];
  const named = await opened({ ...DESKTOP, httpCredentials: undefined }, address.href);
  await named.waitForResponse((answer) => answer.url().includes(';live') && answer.ok());
  await named.waitForFunction(() => document.querySelector('#state').textContent === 'Live');
  await named.context().close();

  // As it looks: light and dark, wide and narrow.
  await ask(20);
  for (const [name, options] of [
    ['desktop', DESKTOP],
    ['dark', { ...DESKTOP, colorScheme: 'dark' }],
    ['phone', PHONE],
    ['phone-dark', { ...PHONE, colorScheme: 'dark' }],
  ]) {
    const page = await opened(options);
    await page.waitForFunction(() => document.querySelector('#state').textContent === 'Live');
    await page.waitForSelector('#b-web svg path[d^="M"]', { state: 'attached' });
    await accessible(page, name);
    await picture(page, name);
    await page.context().close();
  }

  // It follows what happens, and leaves alone whatever the reader is at.
  const page = await opened(DESKTOP);
  await page.check('input[value="w2"]');
  await page.click('#f-front summary');
  await page.fill('#filter', 'w');
  await page.focus('#filter');
  const scrolled = await page.evaluate(() => { scrollTo(0, 40); return scrollY; });
  const total = () => page.$eval('#b-web tbody tr:last-child td:nth-child(11)', (cell) => Number(cell.textContent));
  const before = await total();
  await ask(30);
  await page.waitForFunction((least) => {
    const cell = document.querySelector('#b-web tbody tr:last-child td:nth-child(11)');
    return Number(cell.textContent) >= least;
  }, before + 30);
  assert.strictEqual(page.loads, 1, 'nothing was drawn anew');
  assert.ok(await page.isChecked('input[value="w2"]'), 'what was chosen is');
  assert.strictEqual(await page.$eval('#f-front', (proxy) => proxy.open), false, 'what was folded is');
  assert.strictEqual(await page.evaluate(() => document.activeElement.id), 'filter');
  assert.strictEqual(await page.evaluate(() => scrollY), scrolled);
  // Longer than the refresh that a browser without the script goes by.
  await page.waitForTimeout(2500);
  assert.strictEqual(page.loads, 1, 'the browser does not refresh by itself');

  // Filter, order, and nothing left to see.
  await page.fill('#filter', 'w3');
  assert.deepStrictEqual(await names(page), ['w3', 'Backend']);
  await page.fill('#filter', '');
  await page.click('#b-web thead th:first-child button');
  await page.click('#b-web thead th:first-child button');
  assert.deepStrictEqual(await names(page), ['w3', 'w2', 'w1', 'Backend']);
  assert.strictEqual(await page.getAttribute('#b-web thead th[aria-sort]', 'aria-sort'), 'descending');
  await page.click('#b-web thead th:first-child button');
  await page.waitForFunction(() => document.querySelector('#b-web tbody th').textContent.includes('w1'));
  await page.selectOption('#states', 'bad');
  assert.strictEqual(await page.isVisible('#b-web'), false, 'all of its servers are up');
  assert.strictEqual(await page.isVisible('#b-gone'), true);
  await page.selectOption('#states', '');
  await page.click('#range-hour');
  assert.strictEqual(await page.isVisible('#b-web figure.recent'), false);
  assert.strictEqual(await page.isVisible('#b-web figure.hour'), true);
  await page.click('#pause');
  assert.strictEqual(await page.textContent('#state'), 'Paused');
  await page.click('#pause');

  // Several servers at once, by keyboard alone.
  await page.check('input[value="w1"]');
  await page.focus('#b-web button[value="drain"]');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.told');
  assert.strictEqual(await page.textContent('.told'), 'Done.');
  assert.ok(!page.url().includes(';st='), 'it is told once');
  const status = (name) => page.$$eval('#b-web tbody tr', (rows, name) => {
    const row = rows.find((row) => row.querySelector(`input[value="${name}"]`));
    return [row.className, row.cells[22].textContent.replace(/^\S+ /, '')];
  }, name);
  assert.deepStrictEqual(await status('w1'), ['drain', 'DRAIN']);
  assert.deepStrictEqual(await status('w2'), ['drain', 'DRAIN']);
  assert.deepStrictEqual(await status('w3'), ['up', 'UP']);
  await picture(page, 'changed');
  await page.check('input[value="w3"]');
  await page.fill('#b-web input[name="weight"]', '50%');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.told');
  assert.strictEqual(await page.$eval('#b-web tbody tr:nth-child(3) td:nth-child(25)', (cell) => cell.textContent), '5');

  // Another site has the browser's password, and nothing else.
  await page.context().route('http://evil.example/', (route) => route.fulfill({
    contentType: 'text/html',
    body: `<form method="post" action="${stats}"><input name="b" value="web"><input name="s" value="w3">
      <input name="action" value="maint"></form><script>document.forms[0].submit()</script>`,
  }));
  const evil = await page.context().newPage();
  await evil.goto('http://evil.example/');
  await evil.waitForSelector('.told');
  assert.ok((await evil.textContent('.told')).startsWith('Denied.'));
  await page.goto(stats);
  assert.deepStrictEqual(await status('w3'), ['up', 'UP']);
  await page.context().close();

  // Without the script.
  const plain = await opened({ ...DESKTOP, javaScriptEnabled: false });
  assert.strictEqual(await plain.isVisible('#fold'), false, 'nothing is shown that does nothing');
  await plain.fill('#filter', 'web');
  await plain.press('#filter', 'Enter');
  await plain.waitForURL(/scope=web/);
  assert.strictEqual(await plain.locator('#b-gone').count(), 0);
  await plain.check('input[value="w1"]');
  await plain.check('input[value="w2"]');
  await plain.click('#b-web button[value="ready"]');
  await plain.waitForURL(/;st=DONE/);
  assert.strictEqual(await plain.textContent('.told'), 'Done.');
  await picture(plain, 'plain');
  await plain.context().close();

  // A thousand servers.
  const began = performance.now();
  const large = await opened(DESKTOP, many);
  await large.waitForFunction(() => document.querySelectorAll('#b-web tbody tr').length === 1001);
  const took = Math.round(performance.now() - began);
  const devtools = await large.context().newCDPSession(large);
  await devtools.send('Performance.enable');
  const { metrics } = await devtools.send('Performance.getMetrics');
  const spent = (what) => Math.round(metrics.find(({ name }) => name === what).value * 1000);
  console.log(`a thousand servers: loaded and drawn in ${took} ms, of which ${spent('LayoutDuration')} ms layout`);
  await large.waitForFunction(() => document.querySelector('#state').textContent === 'Live');
  await picture(large, 'thousand', false);
  // They come as one comes near them, or are found.
  const drawn = () => large.locator('#b-web tbody tr:visible').count();
  assert.strictEqual(await drawn(), 101);
  await large.fill('#filter', 'w77');
  assert.deepStrictEqual(await names(large), ['w77', 'w770', 'w771', 'w772', 'w773', 'w774', 'w775', 'w776', 'w777', 'w778', 'w779', 'Backend']);
  assert.strictEqual(await drawn(), 12);
  await large.fill('#filter', '');
  await large.locator('#b-web .rest').scrollIntoViewIfNeeded();
  await large.waitForFunction(() => /^300 of 1000 /.test(document.querySelector('#b-web .rest').textContent));
  await large.click('#b-web .rest button');
  assert.strictEqual(await drawn(), 1001);
  assert.strictEqual(await large.isVisible('#b-web .rest'), false);
  await large.context().close();
};

(async () => {
  const executablePath = process.env.CHROMIUM || execFileSync('which', ['chromium']).toString().trim();
  // Its sandbox is not for root.
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    await main(browser);
    console.log('done');
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.log(error.stack || String(error));
  process.exitCode = 1;
});

// node browser.js CHROMIUM: one browser for many visits. A line on stdin is a visit, {address, scheme, width, steps}; its
// answer is a line on stdout, {errors, answers}: what the console and the network complained about, and what each step
// came to. A step is an expression, or {press: KEY, times: N}, {type: TEXT}, {axe: true}: what axe finds that is serious.
// It needs puppeteer-core and axe-core where node finds them (NODE_PATH), and Chromium.
"use strict";
const fs = require("fs"), readline = require("readline"), puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

async function perform(page, step) {
  if (typeof step === "string") return page.evaluate(step);
  if (step.type) return page.keyboard.type(step.type);
  for (let k = 0; step.press && k < (step.times ?? 1); k++) await page.keyboard.press(step.press);
  if (!step.axe) return null;
  await page.evaluate(axe);
  return page.evaluate(async () =>
    (await axe.run()).violations.filter(one => ["serious", "critical"].includes(one.impact))
      .map(one => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`));
}

const ofServer = (url, address) => address.startsWith("http:") && new URL(url).origin === new URL(address).origin;

async function visit(browser, { address, scheme = "light", width = 1240, steps }) {
  const page = await browser.newPage(), errors = [], answers = [];
  page.on("console", message => ["error", "warn"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", error => errors.push(String(error)));
  page.on("request", request => request.url() !== address && !ofServer(request.url(), address) && errors.push("request " + request.url()));
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setViewport({ width, height: 900 });
  await page.goto(address);
  for (const step of steps) answers.push((await perform(page, step)) ?? null);
  await page.close();
  return { errors, answers };
}

(async () => {
  const browser = await puppeteer.launch({ executablePath: process.argv[2], args: ["--no-sandbox", "--disable-gpu"] });
  for await (const line of readline.createInterface({ input: process.stdin }))
    console.log(JSON.stringify(await visit(browser, JSON.parse(line))));
  await browser.close();
})();

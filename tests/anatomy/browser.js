// node browser.js FILE: prints, for light and dark, errors of the console, requests, what the keyboard opened, and what
// axe finds that is serious. It needs puppeteer-core and axe-core where node finds them (NODE_PATH), and Chromium.
const fs = require("fs"), puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [file, chromium] = process.argv.slice(2);

async function look(browser, scheme) {
  const page = await browser.newPage(), errors = [];
  page.on("console", message => ["error", "warn"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", error => errors.push(String(error)));
  page.on("request", request => request.url() !== "file://" + file && errors.push("request " + request.url()));
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto("file://" + file);
  const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await page.evaluate(() => document.querySelectorAll("details[open]").length);
  for (let step = 0; step < 200; step++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.matches("details:not([open]) > summary"))) break;
  }
  await page.keyboard.press("Enter");
  const opened = (await page.evaluate(() => document.querySelectorAll("details[open]").length)) - before;
  await page.evaluate(() => document.querySelectorAll("details").forEach(one => (one.open = true)));
  await page.evaluate(axe);
  const serious = await page.evaluate(async () =>
    (await axe.run()).violations.filter(one => ["serious", "critical"].includes(one.impact)).map(one => one.id));
  let shown = null;
  if (await page.$("#find")) {
    await page.type("#find", "resnet32");
    shown = await page.evaluate(() => document.querySelectorAll("article:not([hidden])").length);
  }
  return { paper, errors, opened, serious, shown };
}

(async () => {
  const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
  console.log(JSON.stringify([await look(browser, "light"), await look(browser, "dark")]));
  await browser.close();
})();

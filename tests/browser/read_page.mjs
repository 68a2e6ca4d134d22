// Opens a speedscope file in the real application and prints what is on the page as one JSON object:
// the title, the profiles of the selector, and the sandwich table of the first two profiles.
// Arguments: Chromium's executable, the application's URL, the file, a folder for screenshots.
//
// The flame graph is drawn by WebGL and can only be looked at; the sandwich view is a DOM table.
import path from "node:path";
import { chromium } from "playwright-core";

const [executablePath, url, file, screenshots] = process.argv.slice(2);
const WAIT_MS = 20_000;

const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(WAIT_MS);
  const problems = [];
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("dialog", async (dialog) => {
    problems.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  const shoot = (name) => page.screenshot({ path: path.join(screenshots, `${name}.png`) });

  await page.goto(url);
  await page.setInputFiles("input[type=file]", file);
  const sandwich = page.getByText("Sandwich");
  try {
    await sandwich.waitFor();
  } catch (error) {
    await shoot("failed");
    console.log(JSON.stringify({ problems: [...problems, "the file was not opened"] }));
    process.exitCode = 1;
    throw error;
  }
  await shoot("time-order");

  // a row of the sandwich table: "34.00ms (29%)", "10.00ms (8.5%)", the name; the file as a title
  const rows = page.locator("tr:has(td:nth-child(3)):not([title])");
  const readTable = async () => {
    await rows.first().waitFor();
    return rows.evaluateAll((found) =>
      found.map((row) => {
        const [total, self, name] = [...row.querySelectorAll("td")];
        const weight = (cell) => cell.innerText.split("(")[0].trim();
        return {
          total: weight(total),
          self: weight(self),
          name: name.innerText.trim(),
          file: name.getAttribute("title"),
        };
      }),
    );
  };
  await sandwich.click();
  const everything = await readTable();
  await shoot("sandwich");

  await page.keyboard.press("t");
  const entries = page.locator("tbody tr[title]");
  await entries.first().waitFor();
  await shoot("threads");
  const profiles = await entries.evaluateAll((found) =>
    found.map((row) => {
      const cells = [...row.querySelectorAll("td")];
      return { name: cells[1].innerText, total: cells[2].innerText };
    }),
  );
  await entries.nth(1).click();
  await page.getByText(`(2/${profiles.length})`).waitFor();
  const firstThread = await readTable();

  const title = await page.title();
  console.log(JSON.stringify({ title, profiles, everything, firstThread, problems }));
} finally {
  await browser.close();
}

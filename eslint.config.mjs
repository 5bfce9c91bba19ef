// The scripts of a page share one scope: each names at its top what it takes from the others (global) and gives (exported).
const browser = ["document", "URL", "fetch", "location", "window", "innerWidth", "performance", "IntersectionObserver", "addEventListener", "setTimeout", "clearTimeout", "CSS", "getComputedStyle"];
const node = ["require", "process", "console"];

export default [{
  files: ["**/*.js"],
  languageOptions: { sourceType: "script", ecmaVersion: 2023, globals: Object.fromEntries([...browser, ...node].map(name => [name, "readonly"])) },
  rules: { "no-undef": "error", "no-unused-vars": "error", "no-implied-eval": "error", "no-eval": "error", eqeqeq: "error", "prefer-const": "error" },
}];

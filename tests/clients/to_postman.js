// openapi-to-postmanv2, which Postman's own import is: DOCUMENT -> the method, path and body of every request, as JSON.
const { readFileSync } = require("node:fs");
const { convertV2 } = require("openapi-to-postmanv2");

const data = readFileSync(process.argv[2], "utf8");
convertV2({ type: "string", data }, { parametersResolution: "Example" }, (error, made) => {
  if (error || !made.result) throw error || new Error(made.reason);
  const requests = [];
  const walk = ({ item = [] }) =>
    item.forEach((entry) => {
      if (entry.request) {
        const { method, url, body } = entry.request;
        requests.push({ method, path: `/${url.path.join("/")}`, body: body?.raw });
      }
      walk(entry);
    });
  walk(made.output[0].data);
  console.log(JSON.stringify(requests));
});

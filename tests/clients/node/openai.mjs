// The openai client for Node: its daily features, told as one JSON object. Arguments: base url, key.
import OpenAI, { toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "triage";
const asked = (content) => [{ role: "user", content }];
const usageOf = (u) => [u.prompt_tokens, u.completion_tokens, u.prompt_tokens_details.cached_tokens];
const tool = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};
const told = {};

const whole = await client.chat.completions.create({ model, messages: asked("hi") });
told.chat = [whole.choices[0].message.content, whole.choices[0].finish_reason, usageOf(whole.usage)];

let text = "";
let last;
const options = { model, messages: asked("hi"), stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create(options)) {
  text += chunk.choices[0]?.delta.content ?? "";
  last = chunk;
}
told.stream = [text, usageOf(last.usage)];

const final = await client.chat.completions
  .stream({ model, messages: asked("calls"), tools: [tool] })
  .finalChatCompletion();
told.calls = final.choices[0].message.tool_calls.map((one) => [
  one.function.name,
  JSON.parse(one.function.arguments),
]);

const City = z.object({ name: z.string(), people: z.number() });
const parsed = await client.chat.completions.parse({
  model,
  messages: asked("object"),
  response_format: zodResponseFormat(City, "city"),
});
told.object = parsed.choices[0].message.parsed;

const embedded = await client.embeddings.create({ model: "openai/embed", input: ["a"] });
told.embedding = embedded.data[0].embedding;

const response = await client.responses.create({ model, input: "hi" });
told.response = [response.output_text, response.status];
let deltas = "";
const events = client.responses.stream({ model, input: "hi" });
events.on("response.output_text.delta", (event) => (deltas += event.delta));
told.response_stream = [deltas, (await events.finalResponse()).output_text];
told.response_stream[0] = deltas;

const image = { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } };
const seen = await client.chat.completions.create({
  model,
  messages: asked([{ type: "text", text: "hi" }, image]),
});
told.image = seen.choices[0].message.content;

const store = await client.vectorStores.create({ name: "help" });
const text_file = await toFile(Buffer.from("Refunds take a week."), "refunds.txt");
const kept = await client.vectorStores.files.uploadAndPoll(store.id, text_file, { pollIntervalMs: 20 });
const results = [];
for await (const one of client.vectorStores.search(store.id, { query: "refunds" })) {
  results.push([one.filename, one.content[0].text]);
}
const files = [];
for await (const one of client.vectorStores.files.list(store.id, { limit: 1 })) files.push(one.status);
told.store = [kept.status, results, files, (await client.vectorStores.delete(store.id)).deleted];

try {
  await client.chat.completions.create({ model, messages: asked("busy") });
} catch (error) {
  told.error = [error.status, error.code, error.headers.get("retry-after")];
}
try {
  await client.chat.completions.create({ model: "nobody", messages: asked("hi") });
} catch (error) {
  told.lost = [error.status, error.code];
}
console.log(JSON.stringify(told));

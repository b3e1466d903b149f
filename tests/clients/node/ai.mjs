// Vercel's ai: its daily features over one of its providers, told as one JSON object.
// Arguments: base url, key, provider ("openai" asks the Responses API, "openai-chat", "compatible").
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embed, generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, apiKey, kind] = process.argv.slice(2);
globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({
  name: "understudy",
  baseURL,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const models = { openai, "openai-chat": openai.chat, compatible };
const of = (name) => models[kind](name);
const embedder = (kind === "compatible" ? compatible : openai).textEmbeddingModel("openai/embed");
const model = of("triage");
const usageOf = (u) => [u.inputTokens, u.outputTokens, u.inputTokenDetails?.cacheReadTokens ?? u.cachedInputTokens];
const maxRetries = 0;
const told = {};

const whole = await generateText({ model, prompt: "hi", maxRetries });
told.chat = [whole.text, whole.finishReason, usageOf(whole.usage)];

const stream = streamText({ model, prompt: "hi", maxRetries });
let text = "";
for await (const part of stream.textStream) text += part;
told.stream = [text, usageOf(await stream.usage)];

const schema = jsonSchema({ type: "object", properties: { city: { type: "string" } } });
const weather = tool({ description: "of a city", inputSchema: schema });
const called = streamText({ model, prompt: "calls", tools: { weather }, maxRetries });
await called.consumeStream();
told.calls = (await called.toolCalls).map((one) => [one.toolName, one.input]);

const City = z.object({ name: z.string(), people: z.number() });
told.object = (await generateObject({ model, prompt: "object", schema: City, maxRetries })).object;
told.embedding = (await embed({ model: embedder, value: "a", maxRetries })).embedding;

const image = { type: "image", image: "iVBORw0KGgo=", mediaType: "image/png" };
const content = [{ type: "text", text: "hi" }, image];
told.image = (await generateText({ model, messages: [{ role: "user", content }], maxRetries })).text;

try {
  await generateText({ model, prompt: "busy", maxRetries });
} catch (error) {
  if (!APICallError.isInstance(error)) throw error;
  const code = JSON.parse(error.responseBody).error.code;
  told.error = [error.statusCode, code, error.responseHeaders["retry-after"]];
}
try {
  await generateText({ model: of("nobody"), prompt: "hi", maxRetries });
} catch (error) {
  if (!APICallError.isInstance(error)) throw error;
  told.lost = [error.statusCode, JSON.parse(error.responseBody).error.code];
}
console.log(JSON.stringify(told));

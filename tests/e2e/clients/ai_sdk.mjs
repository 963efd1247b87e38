// Vercel's AI SDK over OpenAI's and over Ollama's API: `node ai_sdk.mjs URL MODEL MODEL_WITH_TOOLS`; prints what it got as JSON.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, Output, generateText, streamText, tool } from 'ai'
import { createOllama } from 'ollama-ai-provider-v2'
import { z } from 'zod'

const [url, model, tooled] = process.argv.slice(2)
const told = {}
const prompt = 'hi'
const colour = z.object({ colour: z.enum(['red', 'green']) })
const tools = { add: tool({ description: 'Add.', inputSchema: z.object({ a: z.number() }), execute: async ({ a }) => a + 1 }) }
// ollama-ai-provider-v2 sends no limit of its own
const brief = { maxOutputTokens: 5, maxRetries: 0, providerOptions: { ollama: { options: { num_predict: 5 } } } }
const providers = {
  openai: createOpenAICompatible({ name: 'vllama', baseURL: `${url}/v1`, apiKey: 'unused', supportsStructuredOutputs: true, includeUsage: true }),
  ollama: createOllama({ baseURL: `${url}/api` }),
}
for (const [name, provider] of Object.entries(providers)) {
  const got = (told[name] = {})
  const text = await generateText({ model: provider(model), prompt, ...brief })
  got.chat = { tokens: text.usage.outputTokens, reason: text.finishReason }
  const stream = streamText({ model: provider(model), prompt, ...brief })
  const parts = []
  for await (const part of stream.textStream) parts.push(part)
  got.stream = { parts: parts.length, tokens: (await stream.usage).outputTokens }
  const offered = await generateText({ model: provider(tooled), prompt, tools, ...brief })
  got.tools = offered.usage.outputTokens
  const shaped = await generateText({ model: provider(model), prompt, output: Output.object({ schema: colour }), maxRetries: 0 })
  got.colour = shaped.output
  try {
    await generateText({ model: provider('nobody'), prompt, maxRetries: 0 })
  } catch (error) {
    got.missing = APICallError.isInstance(error) ? `${error.statusCode} ${error.message}` : `${error}`
  }
}
console.log(JSON.stringify(told))

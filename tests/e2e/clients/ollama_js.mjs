// The ollama library: `node ollama_js.mjs URL MODEL MODEL_WITH_TOOLS`; prints what it got as JSON.
import { Ollama } from 'ollama'

const [url, model, tooled] = process.argv.slice(2)
const ollama = new Ollama({ host: url })
const told = {}
const options = { num_predict: 5 }
const messages = [{ role: 'user', content: 'hi' }]

const chat = await ollama.chat({ model, messages, options })
told.chat = { tokens: chat.eval_count, reason: chat.done_reason }
const parts = []
for await (const part of await ollama.chat({ model, messages, options, stream: true })) parts.push(part)
told.stream = { parts: parts.length, done: parts.at(-1).done }
told.generated = typeof (await ollama.generate({ model, prompt: 'hi', options })).response

const add = {
  type: 'function',
  function: { name: 'add', description: 'Add.', parameters: { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] } },
}
told.tools = (await ollama.chat({ model: tooled, messages, tools: [add], think: false, options })).eval_count
const format = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'] }
told.colour = JSON.parse((await ollama.generate({ model, prompt: 'A colour.', format })).response)

told.listed = (await ollama.list()).models.map((entry) => entry.model)
told.architecture = (await ollama.show({ model })).model_info['general.architecture']
told.loaded = (await ollama.ps()).models.length
await ollama.create({ model: 'copied', from: model, system: 'Be brief.' })
await ollama.copy({ source: 'copied', destination: 'again' })
for (const name of ['copied', 'again']) await ollama.delete({ model: name })

const failed = async (asked) => {
  try {
    await asked()
  } catch (error) {
    return `${error.name} ${error.status_code ?? ''} ${error.message}`
  }
}
told.missing = await failed(() => ollama.chat({ model: 'nobody', messages }))
told.aborted = await failed(async () => {
  for await (const _ of await ollama.generate({ model, prompt: 'hi', stream: true })) ollama.abort()
})
console.log(JSON.stringify(told))

"""The node agent: one HTTP endpoint that speaks the Ollama and OpenAI APIs in front of engines that run as child processes."""

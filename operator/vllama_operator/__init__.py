"""The Kubernetes operator: turns LLMServe objects into pods that serve models. It is never in the path of a request."""

"""Google's Gemini API in front of the same pipeline: /v1beta/models/{model}:{verb}, and /v1 likewise."""

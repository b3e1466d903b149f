"""Google's Gemini API (generateContent) as clients speak it: requests into chat form, chat answers back. Pure."""

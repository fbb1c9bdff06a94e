// Package openai is the llm.Provider for OpenAI's Responses API and the servers that speak it.
//
// It promises that a call is one HTTP request, sent with the stored body byte for byte but for one member ("stream":true,
// right after the opening brace); that every answer is classified by its status, headers and raw body; that an answer
// counts as whole only when the provider said so; and that the provider's credential appears in no error text.
//
// Every call is streamed, because the quota headers are then readable at the first byte instead of minutes later. A
// server that ignores "stream" and sends one JSON object is understood too.
//
// It never retries, waits, or judges an error: that is decided where the whole fleet is known. Of the SDK it uses the
// request and the event decoder but not the typed structs, whose round trip loses fields it does not know, and not its
// errors, which hide or lose what the provider said.
package openai

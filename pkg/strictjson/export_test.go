package strictjson

// Both halves of Check, which must agree.
var (
	Harmless = harmless
	Walk     = walk
)

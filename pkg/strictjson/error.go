package strictjson

import "fmt"

// Error says what is wrong with which field of a document.
type Error struct {
	// Field is the path to it, "payload.messages[0].content" or "[1].type";
	// "" is the document itself.
	Field string
	// Message says what is allowed. It is fit for the person who sent the document,
	// and repeats at most a few characters of it.
	Message string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// Errorf makes an Error for a field.
func Errorf(field, format string, args ...any) *Error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

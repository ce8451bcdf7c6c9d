package proto

import (
	"errors"
	"fmt"
)

// Error says why a request was not done.
type Error struct {
	Code Code
	// Text is one line naming the thing and, where there is one, the way out.
	Text string
}

// Code is a kind of error, for a program to tell apart.
type Code string

// The kinds of errors.
const (
	Failed        Code = "failed"         // the guest could not do it
	Invalid       Code = "invalid"        // the request makes no sense
	NoContainer   Code = "no-container"   // no container of this ID
	NoProcess     Code = "no-process"     // no process of this ID, or it has ended
	Exists        Code = "exists"         // the ID is in use
	NotFound      Code = "not-found"      // the command is not there
	NotExecutable Code = "not-executable" // the command is there, but cannot be run
)

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Errorf(format, args...).Error()}
}

func (e *Error) Error() string { return e.Text }

// ErrorOf is err as an Error: the one it wraps gives the code, else Failed.
func ErrorOf(err error) *Error {
	code := Failed
	if e := (*Error)(nil); errors.As(err, &e) {
		code = e.Code
	}
	return &Error{Code: code, Text: err.Error()}
}

// Exit statuses of a process that was never started, as docker gives them.
const (
	statusFailed        = 125
	statusNotExecutable = 126
	statusNotFound      = 127
)

// Status is the exit status for a command that ends with this error.
func (e *Error) Status() int {
	switch e.Code {
	case NotExecutable:
		return statusNotExecutable
	case NotFound:
		return statusNotFound
	}
	return statusFailed
}

// maxID bounds an ID, in bytes.
const maxID = 64

// CheckID tells whether id can name a container or a process: 1 to 64 letters,
// digits, dots, dashes and underscores, beginning with a letter or a digit.
func CheckID(id string) error {
	if id == "" || len(id) > maxID {
		return Errorf(Invalid, "ID %.80q: it needs 1 to %d characters", id, maxID)
	}
	for i, c := range []byte(id) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '-' && c != '_') {
			return Errorf(Invalid, "ID %q: letters, digits, and after the first also . - _ are allowed", id)
		}
	}
	return nil
}

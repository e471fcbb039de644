// Package hint marks errors for the commands: with what to do about them, and
// as misuse. It is apart from package cli, so that parts of the server that
// know no command can use it.
package hint

import "errors"

type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// Hint says what to do. A command prints it below the error.
func (e *hinted) Hint() string { return e.hint }

// With adds what to do to an error that says what is wrong.
func With(err error, hint string) error { return &hinted{err, hint} }

type misuse struct{ error }

func (e *misuse) Unwrap() error { return e.error }

// Misuse marks this error for commands.
func (e *misuse) Misuse() {}

// Misuse marks an error as one of usage or configuration: nothing was done, and
// the exit code is 2. Of nil it is nil.
func Misuse(err error) error {
	if err == nil {
		return nil
	}
	return &misuse{err}
}

// Cause returns the innermost error, which is what a user understands.
func Cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

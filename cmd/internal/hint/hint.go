// Package hint marks errors for the commands: with a hint, and as misuse. It is
// separate from package cli, so that parts of the server that do not depend on
// commands can use it.
package hint

import "errors"

// hinted is an error with a hint.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// Hint returns what to do. A command prints it below the error.
func (e *hinted) Hint() string { return e.hint }

// With adds a hint to an error: the error is what is wrong, the hint what to do.
func With(err error, hint string) error { return &hinted{err, hint} }

// misuse is an error of usage or configuration.
type misuse struct{ error }

func (e *misuse) Unwrap() error { return e.error }

// Misuse marks the error for package cli, which looks for this method.
func (e *misuse) Misuse() {}

// Misuse marks an error as one of usage or configuration: nothing was changed, and
// the exit code is 2. It returns nil for nil.
func Misuse(err error) error {
	if err == nil {
		return nil
	}
	return &misuse{err}
}

// Cause returns the innermost error, which is the part that a user understands.
func Cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

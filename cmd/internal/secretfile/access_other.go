//go:build !unix

package secretfile

import "os"

// Check accepts all files: this system has no such modes.
func (r Rules) Check(string, *os.File) error { return nil }

// Protect does nothing.
func Protect(*os.File) *ExposedError { return nil }

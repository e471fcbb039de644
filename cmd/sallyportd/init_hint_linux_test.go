package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestInitCannotWrite: the error of a directory in which "init" cannot write has a hint
// with the cause.
func TestInitCannotWrite(t *testing.T) {
	for number, want := range map[syscall.Errno]string{
		syscall.EROFS:  "read-only",
		syscall.EACCES: "name another directory",
		syscall.ENOSPC: "full",
	} {
		err := unwritable(fmt.Errorf("write port_secret: %w", &os.PathError{Op: "open", Path: "port_secret", Err: number}))
		hinted, ok := err.(interface{ Hint() string })
		if !ok || !strings.Contains(hinted.Hint(), want) {
			t.Errorf("%v: got the hint of %v, want %q", number, err, want)
		}
	}
}

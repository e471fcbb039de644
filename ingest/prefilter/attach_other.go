//go:build !linux

package prefilter

import (
	"errors"

	"golang.org/x/net/bpf"
)

// Attach is for Linux.
func Attach(int, []bpf.Instruction) error { return errors.ErrUnsupported }

// AttachRaw is for Linux.
func AttachRaw(int, []bpf.RawInstruction) error { return errors.ErrUnsupported }

// Detach is for Linux.
func Detach(int) {}

// Attach is for Linux.
func (Steer) Attach(int) error { return errors.ErrUnsupported }

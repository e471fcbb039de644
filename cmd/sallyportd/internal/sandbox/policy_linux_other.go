//go:build linux && !amd64 && !arm64

package sandbox

import "golang.org/x/net/bpf"

// filter returns no program: there are no lists for this processor.
func (p Profile) filter() []bpf.Instruction { return nil }

//go:build !(386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64)

package xdp

import "github.com/cilium/ebpf"

// loadShield: nothing runs the tests on big-endian processors.
func loadShield() (*ebpf.CollectionSpec, error) { return nil, ErrProcessor }

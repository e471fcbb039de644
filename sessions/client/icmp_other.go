//go:build !linux

package client

import "syscall"

// Elsewhere an unconnected socket does not learn of ICMP errors.

func (*sender) wantRefusals(bool) {}

func (*sender) refusals() map[syscall.Errno]int { return nil }

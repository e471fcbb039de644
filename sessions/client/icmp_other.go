//go:build !linux

package client

// Elsewhere an unconnected socket does not learn of ICMP errors.

func (*sender) wantRefusals(bool) {}

func (*sender) collect() bool { return false }

//go:build !linux

package client

// On other systems, an unconnected socket does not receive ICMP errors.

const canReceiveICMP = false

func (*sender) enableICMPErrors(bool) {}

func (*sender) readICMPErrors() bool { return false }

// Package syserror recognises the errors of the operating system by their meaning. The
// numbers differ: on Windows, the network's are those of Winsock, and the constants of
// package syscall with the names of Unix match none of them.
package syserror

import (
	"errors"
	"slices"
	"syscall"
)

// Code is what an error means. Its numbers are in codes_unix.go and codes_windows.go.
type Code uint8

// The codes.
const (
	Reset        Code = iota // the peer has reset the connection
	Broken                   // a write on a connection that had ended before
	Refused                  // nothing listens there, or a firewall pretends that
	NoPort                   // of a UDP socket: an ICMP error, port unreachable
	NoRoute                  // to the network or the host
	TimedOut                 // the system has given up; it is no deadline of this program
	Forbidden                // by permissions, or by this computer's firewall
	InUse                    // the local address and port
	NotAvailable             // no such local address, or no free port
	DiskFull                 // or the user's share of it
	ReadOnly                 // the file system
	codeCount
)

// In reports whether err, or an error that it wraps, means c.
func (c Code) In(err error) bool {
	var number syscall.Errno
	return errors.As(err, &number) && slices.Contains(numbers[c], number)
}

// Err returns the error with the meaning c that this system uses most.
func (c Code) Err() error { return numbers[c][0] }

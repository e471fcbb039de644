// Package schedule draws the ports of a minute from the port secret (paper,
// section 5.3, Algorithm 1). PROTOCOL.md beside this file is the
// specification, testdata/vectors.json its test vectors.
//
//	now -> MinuteOf -> Ports(generator, port secret, minute, n) -> n distinct ports
//	now -> Live(tolerance) -> the minutes whose ports are open
//
// All functions are pure and safe for concurrent use.
package schedule

//go:build !linux

package forward

// watchEnd does nothing: the reset of a side that has ended its direction shows when
// the other side sends something to it.
func watchEnd(Conn, func(reset bool)) (stop func()) { return func() {} }

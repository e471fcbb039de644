package runner

import "os"

// Link is the server's end of all that connects it to a runner.
type Link struct {
	Socket *os.File // of type SOCK_SEQPACKET
	// Lifeline is a pipe: the other end is open while the runner or a supervisor of
	// its runs lives.
	Lifeline *os.File
	// Process is a pidfd of the runner, a child of this process in the same session:
	// the kernel then lets this process continue it.
	Process *os.File
	// Group has the control group of the runner and all its programs; nil: none.
	Group *Group
}

// Close closes all.
func (l Link) Close() {
	for _, f := range []*os.File{l.Socket, l.Lifeline, l.Process} {
		if f != nil {
			f.Close()
		}
	}
	l.Group.Close()
}

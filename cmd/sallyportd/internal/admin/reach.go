package admin

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Why is why a request found no server, in one word for programs.
func (e *UnreachableError) Why() string {
	switch {
	case errors.Is(e.err, fs.ErrNotExist):
		return "no-socket" // no server has made it, or it was removed
	case errors.Is(e.err, syscall.ECONNREFUSED):
		return "refused" // it was left by a server that has ended
	case errors.Is(e.err, fs.ErrPermission):
		return "permission"
	case errors.Is(e.err, context.DeadlineExceeded), errors.Is(e.err, os.ErrDeadlineExceeded):
		return "timeout" // a process has the socket, and does not answer
	}
	return "error"
}

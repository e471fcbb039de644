package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/sockowner"
	"sallyport/sessions/socketpath"
)

const (
	// privateMode keeps all other users out, whatever the umask is.
	privateMode = 0o700
	socketMode  = 0o600
	// inheritedBacklog is how many connections may wait until the program accepts
	// them. The sysctl net.core.somaxconn limits it.
	inheritedBacklog = 4096
)

// Inherited makes the listening Unix sockets that a program inherits, one for each of
// its runs, in a directory that only this process's user may enter: no other user,
// the program's among them, can connect. Only one goroutine at a time may use it, and
// another one may call Accepts.
//
// Each process that has the descriptor can accept connections. The program can pass it
// to other processes, and its children have it: only these get the connections of a run.
type Inherited struct {
	path     string
	run      atomic.Int64 // the present run
	accepted atomic.Int64 // the last run whose program has accepted a connection
}

// NewInherited prepares the socket of a name in a directory, whose parent must exist,
// and removes the one that a crash has left. The caller must be the only user of
// the directory. It returns an error if the directory is not private, or if something
// else has the name.
func NewInherited(dir, name string) (*Inherited, error) {
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	i := &Inherited{path: filepath.Join(dir, name)}
	if filepath.Dir(i.path) != filepath.Clean(dir) {
		return nil, fmt.Errorf("expected the name of a file for a socket, got %q", name)
	}
	return i, i.remove()
}

// makePrivate makes a directory, or checks that it is one of this user alone.
func makePrivate(dir string) error {
	err := os.Mkdir(dir, privateMode)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory of sockets: %w", err)
	}
	var s unix.Stat_t
	if err := unix.Lstat(dir, &s); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case s.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory", dir)
	case s.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("the directory %s belongs to user ID %d, expected user ID %d", dir, s.Uid, os.Geteuid())
	case s.Mode&0o077 != 0:
		return fmt.Errorf("the directory %s has mode %04o, expected %04o: other users could connect to a program", dir, s.Mode&0o7777, privateMode)
	}
	return nil
}

// Upstream returns where the program is reached while it runs. The owner of the
// socket is the user of this process, not the program's.
func (i *Inherited) Upstream() Upstream { return UnixUpstream(i.path) }

// Open makes the socket of a run, in blocking mode, as programs expect it. The caller
// must close the file when it has passed it on: if it stays open after the program
// has ended, connections wait for a program that never accepts them. The socket of an
// earlier run can no longer be reached.
func (i *Inherited) Open() (*os.File, error) {
	i.run.Add(1)
	if err := i.remove(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = socketpath.Use(i.path, func(short string) error {
		// The mode of a socket that is not bound becomes that of the file, less the
		// umask.
		if err := unix.Fchmod(fd, socketMode); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: short}))
	})
	if err == nil {
		if err = os.NewSyscallError("listen", unix.Listen(fd, inheritedBacklog)); err != nil {
			i.remove()
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make the socket %s: %w", i.path, err)
	}
	return os.NewFile(uintptr(fd), i.path), nil
}

// acceptedPause is the time between two questions whether the program has accepted.
const acceptedPause = 10 * time.Millisecond

// Accepts returns nil if the program of the present run accepts connections. The
// kernel completes a connection before the program has begun to run: so the first
// call that returns nil has seen the program accept one. If the kernel cannot report
// that (CONFIG_UNIX_DIAG), a connection is enough.
func (i *Inherited) Accepts(ctx context.Context) error {
	run := i.run.Load() // a later one may begin meanwhile
	if i.accepted.Load() == run {
		return Accepts(ctx, i.Upstream(), uint32(os.Geteuid()))
	}
	return socketpath.Use(i.path, func(short string) error {
		c, err := new(net.Dialer).DialContext(ctx, "unix", short)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := awaitAccept(ctx, c.(*net.UnixConn)); err != nil {
			return err
		}
		i.accepted.Store(run)
		return nil
	})
}

// awaitAccept waits until the program has accepted a connection.
func awaitAccept(ctx context.Context, c *net.UnixConn) error {
	for {
		accepted, err := sockowner.UnixAccepted(c)
		switch {
		case accepted || errors.Is(err, sockowner.ErrNone):
			return nil
		case err != nil:
			return err
		}
		// The program may have accepted and closed it meanwhile, which looks like an
		// end of file. The end of a program that has accepted nothing is a reset.
		if c.SetReadDeadline(time.Now().Add(acceptedPause)) != nil {
			return net.ErrClosed
		}
		_, err = c.Read(make([]byte, 1))
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case ctx.Err() != nil:
			return errors.New("the program has not accepted a connection yet")
		}
	}
}

// Close removes the socket: only connections that exist continue to
// reach a program of an earlier run. Open may be called again.
func (i *Inherited) Close() error { return i.remove() }

// remove removes the socket, if there is one. Anything else has been put there by
// mistake, and stays.
func (i *Inherited) remove() error {
	var s unix.Stat_t
	err := unix.Lstat(i.path, &s)
	switch {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return &fs.PathError{Op: "lstat", Path: i.path, Err: err}
	case s.Mode&unix.S_IFMT != unix.S_IFSOCK || s.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s: expected a socket of user ID %d, or nothing, got a file of user ID %d with mode %#o", i.path, os.Geteuid(), s.Uid, s.Mode)
	}
	return os.Remove(i.path)
}

package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The store of descriptors: the manager keeps what a service passes to it, and passes it to
// the next process of the service. When the service is stopped, and not only restarted, the
// manager closes all.

// Descriptor is an open file that the manager has passed to this process.
type Descriptor struct {
	Name string
	FD   int
}

// Passed returns the descriptors that the manager has passed to this process, once. No
// program that this process executes inherits them, or finds them again.
func Passed(getenv func(string) string, unset func(string) error) (all []Descriptor) {
	pid, count, names := getenv("LISTEN_PID"), getenv("LISTEN_FDS"), strings.Split(getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		unset(name)
	}
	n, err := strconv.Atoi(count)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	const first = 3 // SD_LISTEN_FDS_START
	for fd := first; fd < first+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return all // there are fewer
		}
		d := Descriptor{FD: fd}
		if i := fd - first; i < len(names) {
			d.Name = names[i]
		}
		all = append(all, d)
	}
	return all
}

// StoreLimit returns how many descriptors the manager stores; known is false if the manager,
// of a release before 254, does not report it.
func (n Notifier) StoreLimit() (limit int, known bool) {
	if n.socket == "" {
		return 0, true
	}
	return n.store, n.storeKnown
}

// Store passes files to the manager's store. It stores none beyond its limit, and does not
// report that. It does not close them when their other end does.
func (n Notifier) Store(name string, files ...*os.File) error {
	return n.pass("FDSTORE=1\nFDNAME="+name+"\nFDPOLL=0", files...)
}

// Remove removes all files with a name from the manager's store.
func (n Notifier) Remove(name string) error { return n.try("FDSTOREREMOVE=1\nFDNAME=" + name) }

// Barrier waits until the manager has processed all that was sent before. A manager that
// knows no barrier (before release 246) does not answer in time.
func (n Notifier) Barrier(ctx context.Context) error {
	if n.socket == "" {
		return errNoManager
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	err = n.pass("BARRIER=1", theirs)
	theirs.Close()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	if until, ok := ctx.Deadline(); ok {
		deadline = until
	}
	ours.SetReadDeadline(deadline)
	defer context.AfterFunc(ctx, func() { ours.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := ours.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for the service manager: %w", err)
	}
	return nil // it has closed its end
}

var errNoManager = errors.New("no service manager")

// pass sends a state with files.
func (n Notifier) pass(state string, files ...*os.File) error {
	if n.socket == "" {
		return errNoManager
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(patience))
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return withDescriptors(files, nil, func(fds []int) (err error) {
		failed := raw.Write(func(fd uintptr) bool {
			err = unix.Sendmsg(int(fd), []byte(state), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
			return err != unix.EAGAIN
		})
		return cmp.Or(failed, os.NewSyscallError("sendmsg", err))
	})
}

// withDescriptors calls f with the descriptors of files, whose modes stay as they are.
func withDescriptors(files []*os.File, fds []int, f func([]int) error) (err error) {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = withDescriptors(files[1:], append(fds, int(fd)), f) })
	return errors.Join(failed, err)
}

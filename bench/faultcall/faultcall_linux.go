package faultcall

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Faults are the faults of a program, and of all processes that it starts.
type Faults struct {
	t     testing.TB
	order order

	mu    sync.Mutex
	errno syscall.Errno // 0: none
	hang  chan struct{} // nil: none
	only  func(Asked) bool
	met   int
}

// Asked is a call that the kernel asks about.
type Asked struct {
	PID       int
	Number    int
	Arguments [6]uint64
}

// New chooses system calls. A call fails only if only returns true; nil: each does.
func New(t testing.TB, only func(Asked) bool, calls ...Call) *Faults {
	t.Helper()
	f := &Faults{t: t, only: only, order: order{Socket: filepath.Join(t.TempDir(), "faultcall"), Calls: calls}}
	l, err := net.Listen("unix", f.order.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := f.serve(c); err != nil {
				t.Errorf("faultcall: %v", err)
			}
		}
	}()
	return f
}

// Prefix is the command in front of the program's command. Each use is a new program.
func (f *Faults) Prefix() []string {
	f.t.Helper()
	text, err := json.Marshal(f.order)
	if err != nil {
		f.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	return []string{"env", ordered + "=" + string(text), self}
}

// Fail makes the calls fail with an error number.
func (f *Faults) Fail(errno syscall.Errno) { f.set(errno, nil) }

// Hang makes the calls wait.
func (f *Faults) Hang() { f.set(0, make(chan struct{})) }

// Heal executes the calls again, those that wait too.
func (f *Faults) Heal() { f.set(0, nil) }

func (f *Faults) set(errno syscall.Errno, hang chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang != nil {
		close(f.hang)
	}
	f.errno, f.hang, f.met = errno, hang, 0
}

// Met returns how many calls have met the fault since Fail or Hang.
func (f *Faults) Met() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.met
}

// serve takes the listener from a process, and answers the kernel's questions.
func (f *Faults) serve(c net.Conn) error {
	defer c.Close()
	var pid, number int
	if _, err := fmt.Fscan(c, &pid, &number); err != nil {
		return fmt.Errorf("read the listener's number: %w", err)
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	listener, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd", err)
	}
	go f.answers(listener)
	_, err = c.Write([]byte{0})
	return err
}

// question and answer are struct seccomp_notif and struct seccomp_notif_resp.
type question struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	ip         uint64
	arguments  [6]uint64
}

type answer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// answers runs until all processes with the filter have ended.
func (f *Faults) answers(listener int) {
	defer unix.Close(listener)
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err == unix.EINTR {
			continue
		} else if err != nil || ready[0].Revents&unix.POLLIN == 0 {
			return
		}
		var q question
		_, _, failed := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q)))
		switch failed {
		case 0:
		case unix.EINTR, unix.ENOENT: // the caller has got a signal
			continue
		default:
			return
		}
		errno, hang := f.fate(Asked{PID: int(q.pid), Number: int(q.number), Arguments: q.arguments})
		reply := func() {
			a := answer{id: q.id, errno: -int32(errno)}
			if errno == 0 {
				a.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
			}
			// It fails if the caller has ended.
			unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
		}
		if hang == nil {
			reply()
			continue
		}
		go func() {
			<-hang
			reply()
		}()
	}
}

func (f *Faults) fate(a Asked) (syscall.Errno, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.errno == 0 && f.hang == nil || f.only != nil && !f.only(a) {
		return 0, nil
	}
	f.met++
	return f.errno, f.hang
}

// Netlink reports whether the first argument of a call is a netlink socket.
func Netlink(a Asked) bool {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", a.PID, int32(a.Arguments[0])))
	if err != nil {
		return false
	}
	inode, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return false
	}
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", a.PID))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == strings.TrimSuffix(inode, "]") {
			return true
		}
	}
	return false
}

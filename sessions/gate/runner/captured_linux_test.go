package runner

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/program"
)

// capture sends bytes and copies of descriptors to the runner, and returns false if it
// has ended.
func (b *bench) capture(payload []byte, fds ...int) bool {
	b.conn.SetWriteDeadline(netns.Deadline(b.T))
	_, _, err := b.conn.WriteMsgUnix(payload, unix.UnixRights(fds...), nil)
	return err == nil
}

// TestMalformedRequests: a runner starts nothing, keeps no descriptor, and ends with the
// server, whatever bytes and descriptors it gets.
func TestMalformedRequests(t *testing.T) {
	site := program.ID{Service: "site", Role: program.Server}
	start := func(n uint32, id program.ID, env ...string) []byte {
		return message{kind: kindStart, run: n, program: id, env: env}.append(nil)
	}
	for name, send := range map[string]func(b *bench, fds []int){
		"empty":            func(b *bench, fds []int) { b.capture(nil) },
		"only descriptors": func(b *bench, fds []int) { b.capture(nil, fds[:2]...) },
		"too long":         func(b *bench, fds []int) { b.capture(make([]byte, 150_000)) },
		"cut":              func(b *bench, fds []int) { b.capture(start(1, site)[:7]) },
		"a descriptor":     func(b *bench, fds []int) { b.capture(start(1, site), fds[:1]...) },
		"two descriptors":  func(b *bench, fds []int) { b.capture(start(1, site), fds[:2]...) },
		"253 descriptors":  func(b *bench, fds []int) { b.capture(start(1, site), fds...) },
		"with a stop":      func(b *bench, fds []int) { b.capture(message{kind: kindStop, run: 1}.append(nil), fds[0]) },
		"a zero byte":      func(b *bench, fds []int) { b.capture(start(1, site, "SALLYPORT_EVENT=a\x00LD_PRELOAD=/x")) },
		"no variable":      func(b *bench, fds []int) { b.capture(start(1, site, "")) },
		"the runner's own": func(b *bench, fds []int) { b.capture(start(1, site, "SALLYPORT_INSTANCE=x")) },
		"a long variable":  func(b *bench, fds []int) { b.capture(start(1, site, "SALLYPORT_EVENT="+strings.Repeat("a", 600))) },
		"replies never read": func(b *bench, fds []int) {
			other := program.ID{Service: "no", Role: program.Server}
			for n := uint32(10); n < 5_000 && b.capture(start(n, other), fds[:1]...); n++ {
			}
		},
		"random": func(b *bench, fds []int) {
			for more := true; more; {
				p := make([]byte, 1+rand.IntN(200))
				for i := range p {
					p[i] = byte(rand.IntN(256))
				}
				p[0] = byte(rand.IntN(7))
				more = b.capture(p, fds[:rand.IntN(3)]...)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			b := begin(t, 0, script(program.Server, `echo up > $DIR/up; sleep 1000`))
			send(b, slices.Repeat([]int{int(null.Fd())}, 253))
			if left, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", b.pid)); len(left) > 20 {
				t.Errorf("the runner has %d descriptors", len(left))
			}
			b.close()
			if _, err := os.Stat(filepath.Join(b.dir, "up")); err == nil {
				t.Error("the program was started")
			}
		})
	}
}

// TestNoListener: a program gets no other descriptor than a listening Unix socket, at
// which no stranger is.
func TestNoListener(t *testing.T) {
	p := script(program.Server, `echo up > $DIR/up`)
	p.Inherits = true
	b := begin(t, 0, p)
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	b.must(err)
	defer tcp.Close()
	public, err := tcp.File()
	b.must(err)
	defer public.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	b.must(err)
	defer unix.Close(pair[1])
	connected := os.NewFile(uintptr(pair[0]), "connected")
	defer connected.Close()
	null, err := os.Open(os.DevNull)
	b.must(err)
	defer null.Close()
	for _, f := range []*os.File{public, connected, null} {
		r, err := b.Start(program.Request{Program: program.ID{Service: "site", Role: program.Server}, Listener: f})
		b.must(err)
		if err := b.end(r); err == nil || !strings.Contains(err.Error(), "expected a listening Unix socket") {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "up")); err == nil {
		t.Error("the program was started")
	}
}

// TestNoDescriptorLeft: a runner that has no descriptor left, so that the kernel drops the
// listener of a request, refuses that request only.
func TestNoDescriptorLeft(t *testing.T) {
	p := script(program.Server, `exit 0`)
	p.Inherits = true
	t.Setenv(testFiles, "80")
	b := begin(t, 0, p)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	b.must(err)
	listener := os.NewFile(uintptr(fd), "listener")
	defer listener.Close()
	b.must(unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(b.dir, "socket")}))
	b.must(unix.Listen(fd, 1))
	run := func() error {
		r, err := b.Start(program.Request{Program: program.ID{Service: "site", Role: program.Server}, Listener: listener})
		b.must(err)
		return b.end(r)
	}
	b.must(unix.Kill(b.pid, unix.SIGUSR1))
	b.logged("descriptors=0")
	if err := run(); err == nil || !strings.Contains(err.Error(), "listener was lost") {
		t.Errorf("without a descriptor left: %v", err)
	}
	b.must(unix.Kill(b.pid, unix.SIGUSR2))
	b.logged("descriptors=80")
	b.must(run())
}

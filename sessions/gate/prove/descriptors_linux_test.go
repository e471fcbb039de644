package prove

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/verify/preamble"
)

// TestNoDescriptorIsLeft: while strangers have all descriptors of the process, nothing is
// accepted, and nothing is lost: the client's connection, which waits with its preamble,
// passes when they leave.
func TestNoDescriptorIsLeft(t *testing.T) {
	w := newWorld(t, Config{Timeout: time.Minute})
	to := &unix.SockaddrInet4{Port: w.listener.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	var sockets []int // of this side: they exist before none is left
	for range 60 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { unix.Close(fd) }()
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &lingerZero)
		sockets = append(sockets, fd)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	restore := func() { syscall.Setrlimit(unix.RLIMIT_NOFILE, &before) }
	defer restore()
	less := before
	less.Cur = highestDescriptor(t) + 1 + 8
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &less); err != nil {
		t.Fatal(err)
	}
	const room = 4
	var others []int
	for {
		fd, err := unix.FcntlInt(uintptr(sockets[0]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		others = append(others, fd)
	}
	for i, fd := range others {
		if i < room {
			unix.Close(fd)
		} else {
			defer unix.Close(fd)
		}
	}
	for _, fd := range sockets {
		if err := unix.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
	}
	client := sockets[len(sockets)-1]
	p := w.client()
	b := p.Preamble()
	if err := send(client, b[:]); err != nil {
		t.Fatal(err)
	}
	for { // connections of earlier tests may end, and leave more room
		fd, err := unix.FcntlInt(uintptr(client), unix.F_DUPFD_CLOEXEC, 0)
		if err == unix.EMFILE {
			break
		}
		unix.Close(fd)
		time.Sleep(time.Millisecond)
	}
	w.prover.mu.Lock()
	if n := w.prover.table.used; n >= len(sockets) {
		t.Errorf("%d connections were accepted", n)
	}
	w.prover.mu.Unlock()
	for _, fd := range sockets[:len(sockets)-1] {
		unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	answer := make([]byte, preamble.AnswerSize)
	if n, err := unix.Read(client, answer); n != len(answer) {
		t.Fatalf("read the answer: %d bytes, %v", n, err)
	}
	proof, err := p.Answer(answer)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(client, append(proof[:], "you"...)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("hello "))
	if n, err := unix.Read(client, got); string(got[:max(n, 0)]) != "hello " {
		t.Errorf("the service sent %q: %v", got, err)
	}
	restore()
	w.wantCounts(map[Outcome]uint64{Passed: 1, Closed: uint64(len(sockets) - 1)})
}

func highestDescriptor(t *testing.T) (highest uint64) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		highest = max(highest, n)
	}
	return highest
}

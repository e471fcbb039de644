package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/cli"
)

// TestResetIsAnError: a reset is an error, also if the kernel reports it to the
// goroutine that writes.
func TestResetIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 200 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		served, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		served.(*net.TCPConn).SetLinger(0)
		served.Close()
		awaitReset(t, c.(*net.TCPConn))
		env := cli.Env{Stdin: strings.NewReader("request"), Stdout: io.Discard}
		err = forward(context.Background(), env, c.(*net.TCPConn))
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("got %v", err)
		}
	}
}

// awaitReset waits until the kernel has received the reset, without reading it.
func awaitReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	netns.Until(t, "the reset", func() (came bool) {
		raw.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd)}}
			unix.Poll(fds, 0)
			came = fds[0].Revents&unix.POLLERR != 0
		})
		return came
	})
}

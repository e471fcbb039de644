package syserror

import (
	"fmt"
	"io/fs"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestSockets: the errors of real sockets have their code, and no other one.
func TestSockets(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := func(name string, err error, want ...Code) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		for c := range codeCount {
			if c.In(fmt.Errorf("wrapped: %w", err)) != slices.Contains(want, c) {
				t.Errorf("%s: code %d: %t, of %v", name, c, c.In(err), err)
			}
		}
	}
	_, err = net.Listen("tcp4", l.Addr().String())
	check("a port in use", err, InUse)
	_, err = net.Listen("tcp4", "192.0.2.1:0")
	check("an address of another computer", err, NotAvailable)

	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	_, err = net.Dial("tcp4", free.Addr().String())
	// The number of UDP is that of another meaning of TCP: the caller knows its socket.
	check("a closed port", err, same(Refused)...)

	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	_, err = c.Read(make([]byte, 1))
	check("a reset", err, same(Reset)...)
	if runtime.GOOS == "windows" {
		return // package net turns the ICMP errors off
	}
	u, err := net.Dial("udp4", free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.SetReadDeadline(time.Now().Add(10 * time.Second))
	u.Write([]byte("x"))
	_, err = u.Read(make([]byte, 1))
	check("a closed UDP port", err, Refused, NoPort)
}

// same returns the codes that have the number of c.
func same(c Code) (list []Code) {
	for other := range codeCount {
		if slices.Contains(numbers[other], numbers[c][0]) {
			list = append(list, other)
		}
	}
	return list
}

// TestEach: each code has a number, which Err returns, and no number of the system's
// constants is in two codes, except for those of UDP.
func TestEach(t *testing.T) {
	for c := range codeCount {
		if len(numbers[c]) == 0 {
			t.Fatalf("code %d has no number", c)
		}
		if !c.In(&fs.PathError{Err: c.Err()}) || c.In(fs.ErrExist) || c.In(nil) {
			t.Errorf("code %d: Err and In differ", c)
		}
		for _, other := range same(c) {
			if other != c && other != NoPort && c != NoPort {
				t.Errorf("codes %d and %d have the same number", c, other)
			}
		}
	}
}

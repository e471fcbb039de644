package prefilter_test

import (
	"bytes"
	"net"
	"syscall"
	"testing"

	"golang.org/x/net/bpf"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestKernelAgrees sends every packet to every row's port, where a real socket
// is bound.
func TestKernelAgrees(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, family := range []string{"127.0.0.1", "::1"} {
		for _, r := range prefiltertest.Rows() {
			kernelAgrees(t, net.ParseIP(family), r)
		}
	}
}

func kernelAgrees(t *testing.T, at net.IP, r prefiltertest.Row) {
	// The last datagram of each round is one that every filter accepts.
	marker := prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{r.Port: {{Minute: minute, Index: 1}}}}
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: at, Port: int(r.Port)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sender, err := net.DialUDP("udp", nil, c.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	b := make([]byte, 2000)
	for _, p := range prefiltertest.Packets() {
		attachTo(t, c, r.Table.Raw(r.Port))
		if _, err := sender.Write(p.Datagram); err != nil {
			t.Fatal(err)
		}
		attachTo(t, c, marker.Raw(r.Port)) // in its place, while it is in use
		last := prefiltertest.Plain(func(k *wire.Knock) { k.Nonce = 77 })
		if _, err := sender.Write(last); err != nil {
			t.Fatal(err)
		}
		got := false
		for {
			n, err := c.Read(b)
			if err != nil {
				t.Fatalf("%s: %s: %v", r.Name, p.Name, err)
			}
			if bytes.Equal(b[:n], last) {
				break
			}
			if got = bytes.Equal(b[:n], p.Datagram); !got {
				t.Errorf("%s: %s: came as %x", r.Name, p.Name, b[:n])
			}
		}
		if want := r.Want(p.Datagram) == verify.Authentic; got != want {
			t.Errorf("%s: %s: the kernel accepts it: %v, want %v", r.Name, p.Name, got, want)
		}
	}
}

func attachTo(t *testing.T, c syscall.Conn, program []bpf.RawInstruction) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) { err = prefilter.AttachRaw(int(fd), program) })
	if controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}

package prefilter

import (
	"bytes"
	"net"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestKernelAgrees sends every packet of the table to real sockets.
func TestKernelAgrees(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for _, family := range []string{"127.0.0.1", "::1"} {
		kernelAgrees(t, net.ParseIP(family))
	}
}

func kernelAgrees(t *testing.T, at net.IP) {
	for _, r := range rules {
		// The last datagram of each round is one that every filter takes.
		marker := Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, nil}
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: at})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sender, err := net.DialUDP("udp", nil, c.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		for name, datagram := range packets() {
			attachTo(t, c, r.rules)
			if _, err := sender.Write(datagram); err != nil {
				t.Fatal(err)
			}
			attachTo(t, c, marker) // in its place, while it is in use
			last := knock(func(k *wire.Knock) { k.Nonce = 77 })
			if _, err := sender.Write(last); err != nil {
				t.Fatal(err)
			}
			got := false
			for {
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				b := make([]byte, 2000)
				n, err := c.Read(b)
				if err != nil {
					t.Fatalf("%s: %s: the marker never came: %v", r.name, name, err)
				}
				if bytes.Equal(b[:n], last) {
					break
				}
				if got = bytes.Equal(b[:n], datagram); !got {
					t.Errorf("%s: %s: came as %x", r.name, name, b[:n])
				}
			}
			if want := r.rules.Accepts(datagram); got != want {
				t.Errorf("%s: %s: the kernel takes it: %v, Go: %v", r.name, name, got, want)
			}
		}
	}
}

func attachTo(t *testing.T, c syscall.Conn, r Rules) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { err = Attach(int(fd), r.Program()) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}

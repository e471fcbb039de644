package netns

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHostsAreConnectedAndApart(t *testing.T) {
	if !Enter(t) {
		return
	}
	h := NewHost(t)
	Connect(t, End{"left", []string{"198.51.100.1/24", "2001:db8::1/64"}}, h, End{"right", []string{"198.51.100.2/24", "2001:db8::2/64"}})
	for _, address := range []string{"198.51.100.1:7", "[2001:db8::1]:7"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := h.Do(func() error {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err
		}); err != nil {
			t.Errorf("from the host: %v", err)
		}
	}
	// The host's own loopback has no such listener.
	err := h.Do(func() error {
		_, err := net.Dial("tcp", "127.0.0.1:7")
		return err
	})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the host's loopback: %v", err)
	}
}

package gate

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestBindable(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := Bindable("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("held by another: %v", err)
	}
	l.Close()
	if err := Bindable("tcp", address); err != nil {
		t.Errorf("free: %v", err)
	}
	for address, want := range map[string]error{"[::1]:0": nil, ":0": nil, "[::]:0": nil, "192.0.2.1:0": syscall.EADDRNOTAVAIL} {
		if err := Bindable("tcp", address); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

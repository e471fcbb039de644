package udp

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestOtherUsersCannotBind: while a knock port is open, a program of another user
// cannot bind it by a more specific address, by a less specific one, by an
// interface, or by an option.
func TestOtherUsersCannotBind(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	const stranger = 65534
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"[::]:4000", "0.0.0.0:4001", "127.0.0.1:4002", "[::1]:4003"} {
		at := netip.MustParseAddrPort(own)
		for _, shared := range []bool{false, true} {
			fd, err := Socket{Shared: shared}.Open(at)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // and ends with the goroutine
				unix.SetfsuidRetUid(stranger)
				if uid, _ := unix.SetfsuidRetUid(-1); uid != stranger {
					t.Errorf("acts as %d", uid)
					return
				}
				for _, address := range []string{"127.0.0.1", "0.0.0.0", "::1", "::"} {
					other := netip.AddrPortFrom(netip.MustParseAddr(address), at.Port())
					a, b := at.Addr(), other.Addr()
					if a != b && !a.IsUnspecified() && !b.IsUnspecified() || a.Is4() != b.Is4() && at.Addr() != netip.IPv6Unspecified() {
						continue // another address is free
					}
					for _, options := range [][]int{nil, {unix.SO_REUSEADDR}, {unix.SO_REUSEPORT}, {unix.SO_REUSEADDR, unix.SO_REUSEPORT}} {
						for _, device := range []string{"", lo.Name} {
							s := Socket{V6Only: true, Prepare: func(fd int) error {
								for _, o := range options {
									if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1); err != nil {
										return err
									}
								}
								if device != "" {
									return unix.BindToDevice(fd, device)
								}
								return nil
							}}
							if got, err := s.Open(other); err == nil {
								t.Errorf("%s, shared %t: another user binds %s with options %v, device %q", own, shared, other, options, device)
								unix.Close(got)
							}
						}
					}
				}
			}()
			<-done
			unix.Close(fd)
		}
	}
}

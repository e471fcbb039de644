package udp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

var at = netip.MustParseAddrPort("127.0.0.1:20000")

func TestMessages(t *testing.T) { // counts allocations, so it runs alone
	if !netns.Enter(t) {
		return
	}
	receiver, err := Socket{Prepare: func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1), unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	}}.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(receiver)
	from := netip.MustParseAddrPort("127.0.0.1:30000")
	sender, err := Socket{}.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sender)
	to, err := Sockaddr(at)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMessages()
	var data [BatchSize][8]byte
	var names [BatchSize]Name
	var control [BatchSize][128]byte
	for i := range data {
		m.Into(i, data[i][:], &names[i])
		m.Control(i, control[i][:])
	}
	if n, err := m.Receive(receiver, 0); err != unix.EAGAIN {
		t.Fatalf("of an empty queue: %d, %v", n, err)
	}
	send := func(text string) {
		if err := unix.Sendto(sender, []byte(text), 0, to); err != nil {
			t.Fatal(err)
		}
	}
	send("one")
	send("longer than the room for it")
	for from, want := 0, []string{"one", "longer t", "three"}; from < len(want); {
		n, err := m.Receive(receiver, from)
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i < from+n; i++ {
			if got := string(data[i][:min(m.Len(i), 8)]); got != want[i] {
				t.Errorf("got %q, want %q", got, want[i])
			}
		}
		if from += n; from == 2 {
			send("three")
		}
	}
	if names[2] != NameOf(from) || names[2].Addr() != from.Addr() || names[2].Port() != from.Port() {
		t.Errorf("it came from %s, port %d", names[2].Addr(), names[2].Port())
	}
	if to, drops := ParseControl(control[2][:m.ControlLen(2)]); to != at.Addr() || drops != 0 {
		t.Errorf("it went to %s, %d were dropped", to, drops)
	}
	if n := testing.AllocsPerRun(100, func() {
		unix.Sendto(sender, nil, 0, to)
		m.Receive(receiver, 5)
		names[5].Addr()
		ParseControl(control[5][:m.ControlLen(5)])
	}) - testing.AllocsPerRun(100, func() { unix.Sendto(sender, nil, 0, to) }); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}

func TestWaiter(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w, err := NewWaiter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	round := func(timeout time.Duration) (ready []int) {
		t.Helper()
		if err := w.Wait(timeout); err != nil {
			t.Fatal(err)
		}
		for fd, ok := w.Next(); ok; fd, ok = w.Next() {
			ready = append(ready, fd)
		}
		return ready
	}
	fd, err := Socket{}.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := w.Add(fd); err != nil {
		t.Fatal(err)
	}
	if got := round(0); len(got) != 0 {
		t.Errorf("ready: %v", got)
	}
	w.Wake()
	if got := round(-1); len(got) != 0 {
		t.Errorf("ready after Wake: %v", got)
	}
	to, _ := Sockaddr(at)
	if err := unix.Sendto(fd, nil, 0, to); err != nil {
		t.Fatal(err)
	}
	for range 2 { // nothing was read, so it stays ready
		if err := w.Wait(-1); err != nil {
			t.Fatal(err)
		}
		w.Skip()
		if fd, ok := w.Next(); ok {
			t.Errorf("%d after Skip", fd)
		}
	}
	if got := round(-1); len(got) != 1 || got[0] != fd {
		t.Errorf("ready: %v, want %d", got, fd)
	}
}

func TestInterfaceThatIsNotThere(t *testing.T) {
	_, err := Socket{}.Open(netip.MustParseAddrPort("[fe80::1%nope0]:20000"))
	if err == nil || !strings.Contains(err.Error(), "nope0") {
		t.Errorf("got %v", err)
	}
}

func TestName(t *testing.T) {
	for _, text := range []string{"192.0.2.1:7", "[2001:db8::1]:65535"} {
		a := netip.MustParseAddrPort(text)
		n := NameOf(a)
		if got := netip.AddrPortFrom(n.Addr(), n.Port()); got != a {
			t.Errorf("got %s, want %s", got, a)
		}
	}
	var none Name
	if none.Addr().IsValid() || none.Port() != 0 {
		t.Error("the zero name has an address")
	}
}

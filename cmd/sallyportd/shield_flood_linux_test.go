package main

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/flood"
	"sallyport/sessions/client"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	// floodPause and floodBurst bound a flood to 4,000 frames a second.
	floodPause = 10 * time.Millisecond
	floodBurst = 40
)

// flooder sends frames to live knock ports from the clients' host, from many addresses:
// junk, bad magic, knocks of an unknown client, and well-formed knocks of a known one
// with a wrong signature, in turn.
type flooder struct {
	guest *guest // the known client, of which an attacker has seen a knock
	fd    int

	frames atomic.Uint64 // that an interface has accepted

	mu   sync.Mutex // held while a burst is sent
	link flood.Link
	at   int // the interface; 0: there is none
}

// flood floods the server until the test ends.
func (w *shieldWorld) flood(t *testing.T, named *guest) *flooder {
	t.Helper()
	f := &flooder{guest: named}
	if err := w.there.Do(func() (err error) {
		f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f.aim(t, w)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		unix.Close(f.fd)
	})
	return f
}

// aim makes the flood use the present interface.
func (f *flooder) aim(t *testing.T, w *shieldWorld) {
	t.Helper()
	ours, err := netlink.LinkByName(shieldLink)
	if err != nil {
		t.Fatal(err)
	}
	err = w.there.Do(func() error {
		theirs, err := netlink.LinkByName("cli")
		if err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.at = theirs.Attrs().Index
		f.link = flood.Link{From: theirs.Attrs().HardwareAddr, To: ours.Attrs().HardwareAddr, Host: netip.MustParseAddr(shieldHost)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// without pauses the flood while f runs.
func (f *flooder) without(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *flooder) run(ctx context.Context) error {
	ticker := time.NewTicker(floodPause)
	defer ticker.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		// The ports of this minute live for a minute longer, so a burst is never late.
		packets, err := client.Sequence(f.guest.profile, f.guest.now(), rand.Uint32N(1<<15))
		if err != nil {
			return err
		}
		f.mu.Lock()
		for range floodBurst {
			f.send(packets[n%len(packets)], n/len(packets)%4)
			n++
		}
		f.mu.Unlock()
	}
}

// send sends a frame of one kind to the port of a packet.
func (f *flooder) send(p client.Packet, kind int) {
	payload := append([]byte(nil), p.Datagram...)
	payload[wire.OffsetMAC]++
	switch kind {
	case 0:
		payload = payload[:1+rand.IntN(wire.Size-1)]
	case 1:
		payload[wire.OffsetMagic] = 'X'
	case 2:
		payload[wire.OffsetIdentifier] = 'X'
	}
	source := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + rand.IntN(100))}), uint16(1024+rand.IntN(60000)))
	err := unix.Sendto(f.fd, f.link.Frame(source, p.Port, payload), 0, &unix.SockaddrLinklayer{Ifindex: f.at, Halen: 6})
	if err == nil { // an interface that is gone, or its full queue, refuses the frame
		f.frames.Add(1)
	}
}

// livePorts returns the ports of the client's present minute, and those of the minute
// that comes after the next.
func livePorts(t *testing.T, g *guest) (now, later []uint16) {
	t.Helper()
	this := schedule.MinuteOf(g.now())
	for m, ports := range map[schedule.Minute]*[]uint16{this: &now, this + 3: &later} {
		list, err := schedule.Ports(g.profile.Generator, g.profile.PortSecret, m, g.profile.Ports)
		if err != nil {
			t.Fatal(err)
		}
		*ports = list
	}
	return now, later
}

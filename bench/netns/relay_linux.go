package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Relay receives the frames of one direction of a link, one after the other. It
// calls send with each frame that continues: at once or later, in any order, any
// number of times, from any goroutine. The frame belongs to the relay.
type Relay func(frame []byte, send func(frame []byte))

// ConnectRelayed is JoinRelayed for tests: it also fails if the kernel drops frames before
// a relay. No relay is called after the test's cleanup of the link.
func ConnectRelayed(t testing.TB, here End, h *Host, there End, toThere, toHere Relay) {
	t.Helper()
	l, err := JoinRelayed(here, h, there, toThere, toHere)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// RelayedLink is a link between this namespace and a host, on which relays decide about
// each frame.
type RelayedLink struct {
	middle    *Host
	ends      [2]End
	near, far *os.File
	running   sync.WaitGroup
	failed    [2]error // of each direction
}

// JoinRelayed is Join by a link on which the relays decide about each frame: toThere
// about those from here, and toHere about the others. A goroutine for each direction
// calls its relay, until Close.
func JoinRelayed(here End, h *Host, there End, toThere, toHere Relay) (l *RelayedLink, err error) {
	l = &RelayedLink{ends: [2]End{here, there}}
	if l.middle, err = New(); err != nil {
		return nil, err
	}
	if err := l.open(here, h, there); err != nil {
		l.Close()
		return nil, fmt.Errorf("relay a link: %w", err)
	}
	for i, direction := range []struct {
		to, from *os.File
		relay    Relay
	}{{l.far, l.near, toThere}, {l.near, l.far, toHere}} {
		l.running.Go(func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			if err := OneCore(); err != nil {
				l.failed[i] = fmt.Errorf("keep to one processor: %w", err)
			}
			relayFrames(direction.to, direction.from, direction.relay)
		})
	}
	return l, nil
}

func (l *RelayedLink) open(here End, h *Host, there End) error {
	if _, err := Join(here, l.middle, End{Name: "near"}); err != nil {
		return err
	}
	if err := plainFrames(here.Name); err != nil {
		return err
	}
	err := l.middle.Do(func() (err error) {
		if _, err = Join(End{Name: "far"}, h, there); err != nil {
			return err
		}
		if l.near, err = openFrames("near"); err == nil {
			l.far, err = openFrames("far")
		}
		return errors.Join(err, awaitLink("near"), awaitLink("far"))
	})
	if err != nil {
		return err
	}
	return neighboursOf(here, h, there)
}

// Close ends the relays, and removes the link. It returns an error if the kernel has
// dropped frames before a relay.
func (l *RelayedLink) Close() error {
	var errs []error
	for i, f := range []*os.File{l.near, l.far} {
		if f == nil {
			continue
		}
		if n := framesLost(f); n > 0 {
			errs = append(errs, fmt.Errorf("the kernel has dropped %d frames from %s before the relay", n, l.ends[i].Name))
		}
		f.Close()
	}
	l.running.Wait()
	if pair, err := netlink.LinkByName(l.ends[0].Name); err == nil {
		netlink.LinkDel(pair)
	}
	return errors.Join(append(errs, append(l.failed[:], l.middle.Close())...)...)
}

// neighboursOf makes each end of a relayed link a permanent neighbour of the other, as
// Join does with the ends of a pair, and waits until both can send.
func neighboursOf(here End, h *Host, there End) error {
	ours, err := netlink.LinkByName(here.Name)
	if err != nil {
		return err
	}
	var theirs netlink.Link
	err = h.Do(func() (err error) {
		if theirs, err = netlink.LinkByName(there.Name); err != nil {
			return err
		}
		err = neighbours(there.Name, here.Addresses, ours.Attrs().HardwareAddr)
		return errors.Join(err, plainFrames(there.Name), awaitLink(there.Name))
	})
	if err != nil {
		return err
	}
	return errors.Join(neighbours(here.Name, there.Addresses, theirs.Attrs().HardwareAddr), awaitLink(here.Name))
}

// awaitLink waits until the kernel sends frames over an interface. It begins to do so in
// a work queue, some time after the interface is up; until then it drops them.
func awaitLink(name string) error {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Since(begin) > addressTime {
			return fmt.Errorf("the kernel does not send over %s after %s", name, addressTime)
		}
	}
}

// OneCore keeps the caller's thread on one core. The kernel delivers the frames that
// a core sends over a veth in their order, and those of several cores in any order. The
// thread should end afterwards, or have no other work.
func OneCore() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := range maxCores {
		if all.IsSet(cpu) {
			one.Set(cpu)
			return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &one))
		}
	}
	return errors.New("this thread may run on no core")
}

const maxCores = 1024

// framesLost returns how many frames found the buffer of a socket full.
func framesLost(f *os.File) (n uint32) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n = s.Drops
		}
	})
	return n
}

// relayFrames calls the relay with each frame until a file is closed.
func relayFrames(to, from *os.File, relay Relay) {
	send := func(frame []byte) { to.Write(frame) } // an interface that is gone loses frames, as a wire does
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		relay(append([]byte(nil), buffer[:n]...), send)
	}
}

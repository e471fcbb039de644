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

// ConnectRelayed is Connect by a link on which the relays decide about each frame:
// toThere about those from here, and toHere about the others. A goroutine for each
// direction calls its relay. Neither is called after the test's cleanup of the link.
func ConnectRelayed(t testing.TB, here End, h *Host, there End, toThere, toHere Relay) {
	t.Helper()
	middle := NewHost(t)
	Connect(t, here, middle, End{Name: "near"})
	var near, far *os.File
	err := plainFrames(here.Name)
	if err == nil {
		err = middle.Do(func() (err error) {
			if _, err = Join(End{Name: "far"}, h, there); err != nil {
				return err
			}
			if near, err = openFrames("near"); err == nil {
				far, err = openFrames("far")
			}
			return errors.Join(err, awaitLink("near"), awaitLink("far"))
		})
	}
	if err == nil {
		err = neighboursOf(here, h, there)
	}
	if err != nil {
		t.Fatalf("relay a link: %v", err)
	}
	var running sync.WaitGroup
	for _, direction := range []struct {
		to, from *os.File
		relay    Relay
	}{{far, near, toThere}, {near, far, toHere}} {
		running.Go(func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			if err := OneCore(); err != nil {
				t.Errorf("keep to one processor: %v", err)
			}
			relayFrames(direction.to, direction.from, direction.relay)
		})
	}
	t.Cleanup(func() {
		for name, f := range map[string]*os.File{here.Name: near, there.Name: far} {
			if n := framesLost(f); n > 0 {
				t.Errorf("the kernel has dropped %d frames from %s before the relay", n, name)
			}
		}
		near.Close()
		far.Close()
		running.Wait()
	})
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

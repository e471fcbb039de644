package target

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/xdp"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// ringNap is the time that a reader sleeps when its rings are empty, as the server's do.
const ringNap = 100 * time.Microsecond

// shieldRing loads the shield at an interface, for one port that accepts knocks around
// this minute in the name of any client, and returns the rings. The caller must call
// done when it no longer reads them.
func shieldRing(device string, port int) (r *xdp.Ring, done func(), err error) {
	var closers []func() error
	done = func() {
		for _, c := range closers {
			c()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	p, err := xdp.Load(xdp.Sizes{})
	if err != nil {
		return nil, done, err
	}
	closers = append(closers, p.Close)
	files := map[string]*os.File{} // Map closes them, and they are the program's
	for name, f := range p.Files() {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, done, os.NewSyscallError("fcntl", err)
		}
		files[name] = os.NewFile(uintptr(fd), name)
	}
	shield, err := xdp.Map(files)
	if err != nil {
		return nil, done, err
	}
	addresses, index, err := addressesOf(device)
	if err != nil {
		return nil, done, err
	}
	if err := p.SetAddresses(addresses); err != nil {
		return nil, done, err
	}
	link, err := p.Attach(index)
	if err != nil {
		return nil, done, err
	}
	closers = append(closers, link.Close)
	if link.Mode() != xdp.Native {
		return nil, done, errors.New("the shield is not in the driver")
	}
	now := schedule.MinuteOf(time.Now())
	places := []schedule.Place{{Minute: now - 1}, {Minute: now}, {Minute: now + 1}}
	shield.Set(prefilter.Table{Tolerance: time.Minute, Ports: map[uint16][]schedule.Place{uint16(port): places}})
	shield.SetRing(true)
	go func() {
		for range time.Tick(xdp.BeatInterval) { // while the process runs
			shield.Beat()
		}
	}()
	return shield.Ring(0, 1), done, nil
}

func addressesOf(device string) (all []xdp.Address, index int, err error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, 0, fmt.Errorf("find the interface of the reference: %w", err)
	}
	list, err := i.Addrs()
	if err != nil {
		return nil, 0, fmt.Errorf("read the addresses of %s: %w", device, err)
	}
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, xdp.Address{IP: prefix.Addr(), MAC: [6]byte(i.HardwareAddr)})
		}
	}
	return all, i.Index, nil
}

// drainRings copies datagrams from rings into a batch, and does nothing else.
func drainRings(r *xdp.Ring, received *atomic.Uint64) {
	runtime.LockOSThread()
	var data [sinkBatch][64]byte
	var origins [sinkBatch]struct {
		source [16]byte
		port   uint16
	}
	nap := unix.NsecToTimespec(int64(ringNap))
	for {
		records := r.Next(sinkBatch)
		if len(records) == 0 {
			unix.Nanosleep(&nap, nil)
			continue
		}
		for i := range records {
			record := &records[i]
			copy(data[i][:wire.Size], record.Datagram[:])
			origins[i].source, origins[i].port = record.Source, record.Port
		}
		r.Release()
		received.Add(uint64(len(records)))
	}
}

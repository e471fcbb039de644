package xdp

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/wire"
)

// pin keeps the test on one processor, whose ring the program then fills.
func pin(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // until the goroutine of the test ends
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.SchedSetaffinity(0, &all)
		runtime.UnlockOSThread()
	})
}

func TestRingFull(t *testing.T) {
	pin(t)
	const slots = 1 << 10
	r, _ := usual(t, Sizes{Slots: slots})
	for _, flags := range []uint32{FlagRing, FlagRing | FlagShares} {
		r.settings.Flags.Store(flags)
		r.drain()
		for round := range 3 {
			accepted := 0
			for n := range uint32(2 * slots) {
				switch got := r.run(r.native, knock(func(k *wire.Knock) { k.Nonce = n })); got {
				case CountRing:
					if n != uint32(accepted) {
						t.Fatalf("round %d: record %d after a full ring", round, n)
					}
					accepted++
				case CountFull, CountShare:
					if (got == CountShare) != (flags&FlagShares != 0) {
						t.Fatalf("counter %d with flags %d", got, flags)
					}
				default:
					t.Fatalf("counter %d", got)
				}
			}
			if flags&FlagShares == 0 && accepted != slots || accepted < slots*95/100 {
				t.Errorf("round %d, flags %d: %d accepted of %d", round, flags, accepted, slots)
			}
			all := r.drain()
			if len(all) != accepted {
				t.Fatalf("%d records, want %d", len(all), accepted)
			}
			last := uint64(0)
			for n, record := range all {
				k, err := wire.Parse(record.Datagram[:])
				if err != nil || k.Nonce != uint32(n) || record.Arrival < last {
					t.Fatalf("record %d: %+v, %v", n, record, err)
				}
				last = record.Arrival
			}
		}
	}
}

func TestWake(t *testing.T) {
	pin(t)
	r, _ := usual(t, Sizes{})
	r.settings.Flags.Store(FlagRing)
	wake := r.arrays["wake"].FD()
	consumer, err := unix.Mmap(wake, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(consumer)
	woken := func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
	for i := range 1000 { // more often than the ring buffer has room
		if r.run(r.native, knock(nil)); woken() {
			t.Fatalf("%d: it wakes a reader that does not sleep", i)
		}
		for cpu := range r.control {
			r.control[cpu].Sleeping.Store(1)
		}
		if r.run(r.native, knockTo(false, otherPort, nil).bytes()); woken() {
			t.Fatalf("%d: it wakes a reader without a record", i)
		}
		if r.run(r.native, knock(nil)); !woken() {
			t.Fatalf("%d: it does not wake the reader", i)
		}
		asleep := uint32(0)
		for cpu := range r.control {
			asleep += r.control[cpu].Sleeping.Load()
			r.control[cpu].Sleeping.Store(0)
		}
		if asleep != uint32(len(r.control)-1) {
			t.Fatalf("%d: %d readers sleep of %d", i, asleep, len(r.control))
		}
		// The reader advances the first word, by an empty record: header and 8 bytes.
		consumer[0], consumer[1] = byte((i+1)*16), byte((i+1)*16>>8)
		if woken() {
			t.Fatalf("%d: the ring buffer is not empty", i)
		}
		r.drain()
	}
}

// shared is a flood in the name of one client, and honest knocks in it.
type shared struct {
	name   string
	source func() netip.Addr // of the flood
	own    bool              // the honest knocks are of the same client
}

// TestShares plays floods, and compares what survives with shares and without. The
// reader takes a tenth of the flood.
func TestShares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	elsewhere := func() netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(random.Uint32())}) }
	anywhere := func() netip.Addr {
		return netip.AddrFrom4([4]byte{byte(1 + random.IntN(126)), byte(random.Uint32()), byte(random.Uint32()), 1})
	}
	same := func() netip.Addr { return away4 }
	for _, c := range []struct {
		shared
		all bool // every honest knock survives
	}{
		{shared{"others, from elsewhere", elsewhere, false}, true},
		{shared{"others, from anywhere", anywhere, false}, true},
		{shared{"others, from the same address", same, false}, true},
		{shared{"its own, from elsewhere", elsewhere, true}, true},
		{shared{"its own, from anywhere", anywhere, true}, false},
		{shared{"its own, from the same address", same, true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pin(t)
			without, sent := survival(t, c.shared, FlagRing)
			with, _ := survival(t, c.shared, FlagRing|FlagShares)
			t.Logf("of %d knocks survive %d without shares, %d with", sent, without, with)
			if with < without || c.all && with != sent {
				t.Errorf("of %d knocks survive %d without shares, %d with", sent, without, with)
			}
		})
	}
}

func survival(t *testing.T, c shared, flags uint32) (survived, sent int) {
	const slots, flood, read = 1 << 10, 300, 30
	r, _ := usual(t, Sizes{Slots: slots})
	r.settings.Flags.Store(flags)
	random := rand.New(rand.NewPCG(3, 4)) // the same for both
	datagram := prefiltertest.Plain(nil)
	honest := wire.Identifier([]byte("com2"))
	if c.own {
		honest = com1
	}
	honestFrame := knock(func(k *wire.Knock) { k.Identifier = honest })
	for round := range 30 {
		at := random.IntN(flood)
		for n := range flood {
			f := knockTo(false, livePort, datagram)
			f.source = netip.AddrPortFrom(c.source(), 40000)
			r.run(r.native, f.bytes())
			if n == at && round >= 5 { // the ring is full since the first rounds
				sent++
				if r.run(r.native, honestFrame) == CountRing {
					survived++
				}
			}
		}
		r.take(read)
	}
	return survived, sent
}

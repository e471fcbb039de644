package xdp

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// sizes are those of the arrays of a test.
type sizes struct{ processors, slots, buckets int }

// memory returns a shield over anonymous memory, which has all arrays as Load makes
// them.
func memory(t testing.TB, n sizes) *Shield {
	t.Helper()
	all := files(t, n)
	written := map[string][]byte{}
	for name, f := range all {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		written[name], err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := Map(all)
	if err != nil {
		t.Fatal(err)
	}
	kernel.Store(s, written)
	t.Cleanup(func() {
		s.Close()
		kernel.Delete(s)
		for _, b := range written {
			unix.Munmap(b)
		}
	})
	return s
}

// kernel has the memory of each shield as the kernel sees it: it may write all of it.
var kernel sync.Map

func writable(s *Shield, name string) []byte {
	all, _ := kernel.Load(s)
	return all.(map[string][]byte)[name]
}

func files(t testing.TB, n sizes) map[string]*os.File {
	t.Helper()
	return filesThatSay(t, n, n)
}

// filesThatSay makes arrays of a size whose settings have another one.
func filesThatSay(t testing.TB, n, said sizes) map[string]*os.File {
	t.Helper()
	all := map[string]*os.File{}
	for name, size := range map[string]int{
		"settings": int(unsafe.Sizeof(Settings{})), "ports": PortEntries * 8, "rows": Rows * int(unsafe.Sizeof(Row{})),
		"identifiers": n.buckets * int(unsafe.Sizeof(Bucket{})), "filter": max(n.buckets/4, 1) * 8,
		"counters": n.processors * counterSlots * 8,
		"control":  n.processors * int(unsafe.Sizeof(Control{})),
		"records":  n.processors * n.slots * int(unsafe.Sizeof(Record{})),
		"shares":   n.processors * 4 * ShareEntries * int(unsafe.Sizeof(Share{})), "wake": 2 * pageSize,
	} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = os.NewFile(uintptr(fd), name)
		if err := all[name].Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
	}
	settings := make([]byte, unsafe.Sizeof(Settings{}))
	of := (*Settings)(unsafe.Pointer(&settings[0]))
	of.Seeds = [4]uint32{0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f}
	of.Processors, of.Slots, of.Buckets = uint32(said.processors), uint32(said.slots), uint32(said.buckets)
	if _, err := all["settings"].WriteAt(settings, 0); err != nil {
		t.Fatal(err)
	}
	return all
}

// verdict applies the rules as the program does, and returns the counter of a
// datagram; CountRing for one that passes.
func verdict(s *Shield, port uint16, datagram []byte) int {
	flags := s.settings.Flags.Load()
	number := uint16(s.ports[port/4].Load() >> (port % 4 * 16))
	if number == 0 {
		return CountOther
	}
	row := &s.arrays.rows[number]
	if row[0].Load()&PlaceSocket != 0 {
		return CountSocket
	}
	switch {
	case len(datagram) != wire.Size:
		return CountSize
	case string(datagram[:2]) != wire.Magic:
		return CountMagic
	}
	sequence, maximum := datagram[wire.OffsetSequence], datagram[wire.OffsetMaximum]
	id := datagram[wire.OffsetIdentifier:][:4]
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if sequence > 127 || maximum > 127 || sequence > maximum || bytes.IndexFunc(id, unprintable) >= 0 {
		return CountMalformed
	}
	if c := place(row, sequence, maximum, binary.BigEndian.Uint32(datagram[wire.OffsetTimestamp:])); c != CountRing {
		return c
	}
	return client(s, flags, binary.NativeEndian.Uint32(id), binary.BigEndian.Uint32(datagram[wire.OffsetNonce:]))
}

func place(row *Row, sequence, maximum byte, timestamp uint32) int {
	result, known, places := CountSequence, false, 0
	for i := range row {
		w := row[i].Load()
		if w&PlaceValid == 0 {
			continue
		}
		places++
		if maximum < byte(w>>PlaceLowest) || maximum > byte(w>>PlaceHighest) {
			continue
		}
		known = true
		switch {
		case byte(w>>PlaceIndex) != sequence:
		case timestamp-uint32(w) < PlaceSeconds:
			return CountRing
		default:
			result = CountMinute
		}
	}
	if places > 0 && !known {
		return CountMaximum
	}
	return result
}

func client(s *Shield, flags, id, nonce uint32) int {
	var e *Entry
	for _, b := range s.buckets(id) {
		for i := range b {
			word, bits := s.filtered(id)
			if e == nil && b[i].ID.Load() == id && word.Load()&bits == bits {
				e = &b[i]
			}
		}
	}
	switch {
	case e == nil && flags&FlagClients != 0:
		return CountIdentifier
	case e == nil || flags&FlagNonces == 0:
		return CountRing
	}
	result := CountRing
	for i, mark := range []uint32{e.Highest.Load(), e.Previous.Load()} {
		n, m := uint64(nonce), uint64(mark)
		switch {
		case mark == 0 && i == 0:
			return CountRing
		case mark == 0:
		case n+uint64(s.settings.Window) <= m:
			result = CountBelow
		case n > m+MaxAhead:
			result = CountAhead
		default:
			return CountRing
		}
	}
	return result
}

// passes reports whether a datagram reaches the server.
func passes(counter int) bool { return counter <= CountSocket || counter == CountRing }

// forged returns a knock with a zero HMAC.
func forged(k wire.Knock) []byte {
	b, _ := k.AppendBinary(nil)
	return b
}

func tableOf(maximum int8, ports map[uint16][]schedule.Place, ids *prefilter.Identifiers) prefilter.Table {
	return prefilter.Table{Maximum: maximum, Ports: ports, Identifiers: ids}
}

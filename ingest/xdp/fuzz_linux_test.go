package xdp

import (
	"bytes"
	"encoding/binary"
	"testing"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
)

// FuzzFrame runs the program on any frame. Each frame is in one counter, with its
// verdict (see run). A plain frame is refused for the reason that the table gives.
// Only a frame to this host is refused, and a datagram in the ring is in the frame.
func FuzzFrame(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		for _, row := range writtenRows(v6) {
			f.Add(row.bytes())
		}
		for _, p := range prefiltertest.Packets() {
			f.Add(knockTo(v6, livePort, p.Datagram).bytes())
		}
	}
	r, _ := usual(f, Sizes{})
	r.settings.Flags.Store(FlagRing | FlagClients)
	table := prefilter.Table{
		Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}},
		Identifiers: prefilter.NewIdentifiers(prefiltertest.Identifiers(1)),
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 9000 {
			return // the kernel runs no test on these
		}
		r.TB = t
		got := r.run(r.native, frame)
		records := r.drain()
		payload, plain := plainPayload(frame)
		if plain {
			want := countOf[table.Accepts(livePort, payload)]
			if want == CountRing && frame[14]>>4 == 4 && checksum(frame[14:34]) != 0 {
				want = CountSocket
			}
			if got != want {
				t.Errorf("counter %d, want %d", got, want)
			}
		} else if got == CountRing {
			t.Error("it is in the ring, although it is not plain")
		}
		if got > CountSocket && (!bytes.Equal(frame[:6], hostMAC[:]) ||
			!bytes.Contains(frame, host4.AsSlice()) && !bytes.Contains(frame, host6.AsSlice())) {
			t.Errorf("counter %d, although it is not for this host", got)
		}
		if (got == CountRing) != (len(records) == 1) || len(records) == 1 && !bytes.Equal(records[0].Datagram[:], payload) {
			t.Errorf("counter %d, and %d records", got, len(records))
		}
	})
}

// plainPayload returns the payload of a frame without tags, options and extension
// headers, from a usual source to the live port of this host. It reads frames in
// another way than the program.
func plainPayload(frame []byte) ([]byte, bool) {
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == 0x0800 && len(frame) >= 42 && frame[14] == 0x45 && frame[23] == 17 && frame[20]&0x3f == 0 && frame[21] == 0:
		if first := frame[26]; first == 0 || first == 127 || first >= 224 {
			return nil, false
		}
		return udpPayload(frame, host4.AsSlice(), 34, 14+int(binary.BigEndian.Uint16(frame[16:])))
	case kind == 0x86dd && len(frame) >= 62 && frame[14]>>4 == 6 && frame[20] == 17:
		if frame[22] == 0xff || frame[22] == 0xfe && frame[23]>>6 == 2 || bytes.Equal(frame[22:30], make([]byte, 8)) {
			return nil, false
		}
		return udpPayload(frame, host6.AsSlice(), 54, 54+int(binary.BigEndian.Uint16(frame[18:])))
	}
	return nil, false
}

// udpPayload returns the payload of the UDP header at an offset, if the frame has it
// all, and it is for the live port of this host.
func udpPayload(frame, to []byte, at, end int) ([]byte, bool) {
	length := int(binary.BigEndian.Uint16(frame[at+4:]))
	switch {
	case !bytes.HasPrefix(frame, hostMAC[:]), !bytes.Equal(frame[at-len(to):at], to):
		return nil, false
	case binary.BigEndian.Uint16(frame[at+2:]) != livePort, length < 8, at+length > end, at+length > len(frame):
		return nil, false
	}
	return frame[at+8 : at+length], true
}

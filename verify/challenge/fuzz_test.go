package challenge

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
	"time"
)

// codecOf makes a codec of arbitrary numbers; nil: they break a rule.
func codecOf(scheme, data, sequence, restart, size uint8, base uint16) *Codec {
	e := Encoding{
		Scheme: Scheme(scheme%4) + Sequence, Base: base,
		DataBits: int(data%17) + 1, SequenceBits: int(sequence % 16), Restart: int(restart),
	}
	if e.Scheme == Delays {
		e.Delay = 10 * time.Millisecond
	}
	c, err := e.Codec(int(size))
	if err != nil {
		return nil
	}
	return c
}

func FuzzDecoder(f *testing.F) {
	for _, v := range readVectors(f).Messages {
		e := v.Encoding.encoding()
		var packets []byte
		for _, p := range v.Ports {
			packets = append(binary.BigEndian.AppendUint16(packets, p), 10)
		}
		f.Add(uint8(e.Scheme-Sequence), uint8(e.DataBits-1), uint8(e.SequenceBits), uint8(e.Restart),
			uint8(len(v.Message)/2), e.Base, packets)
	}
	f.Fuzz(func(t *testing.T, scheme, data, sequence, restart, size uint8, base uint16, packets []byte) {
		c := codecOf(scheme, data, sequence, restart, size, base)
		if c == nil {
			return
		}
		var d Decoder
		d.Reset(c)
		now := start
		var came []uint16
		v := Incomplete
		for ; len(packets) >= 3; packets = packets[3:] {
			port := binary.BigEndian.Uint16(packets)
			now = now.Add(time.Duration(packets[2]) * time.Millisecond)
			before := v
			if v = d.Add(port, now); before != Incomplete && v != before {
				t.Fatalf("%s, and then %s", before, v)
			}
			if before == Incomplete && v != Impossible {
				came = append(came, port)
			}
		}
		if v != Complete {
			return
		}
		// The sender of a complete message would have used the same ports.
		message := d.AppendMessage(nil)
		ports, err := c.AppendPorts(nil, message)
		if err != nil {
			if slices.Contains(came, 0) {
				return
			}
			t.Fatal(err)
		}
		slices.Sort(came)
		slices.Sort(ports)
		if came, ports = slices.Compact(came), slices.Compact(ports); !slices.Equal(came, ports) {
			t.Errorf("%v came, and %x is sent to %v", came, message, ports)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, v := range readVectors(f).Messages {
		e := v.Encoding.encoding()
		message, err := hex.DecodeString(v.Message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(e.Scheme-Sequence), uint8(e.DataBits-1), uint8(e.SequenceBits), uint8(e.Restart), e.Base, message)
	}
	f.Fuzz(func(t *testing.T, scheme, data, sequence, restart uint8, base uint16, message []byte) {
		if len(message) > MaxMessage {
			return
		}
		c := codecOf(scheme, data, sequence, restart, uint8(len(message)), base)
		if c == nil {
			return
		}
		ports, err := c.AppendPorts(nil, message)
		if err != nil {
			if c.First() != 0 {
				t.Fatal(err)
			}
			return
		}
		var d Decoder
		d.Reset(c)
		now, v := start, Incomplete
		for _, p := range ports {
			now = now.Add(c.Delay())
			v = d.Add(p, now)
		}
		if v != Complete || !bytes.Equal(d.AppendMessage(nil), message) {
			t.Errorf("%s: %x", v, d.AppendMessage(nil))
		}
	})
}

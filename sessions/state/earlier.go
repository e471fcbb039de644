package state

import (
	"encoding/binary"
	"fmt"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Format 2 has one record for each client, under its identifier: the record names no
// secret. See RaiseNonces.
func decodeForm2(headerValue []byte, raw []entry) (c contents, err error) {
	if c.header, err = decodeHeader(headerValue); err != nil {
		return c, err
	}
	return c, c.fillUnnamed(raw, true)
}

// fillUnnamed is fill for formats whose records name no secrets.
func (c *contents) fillUnnamed(raw []entry, leases bool) error {
	for _, e := range raw {
		if len(e.key) != len(wire.Identifier{}) && !(leases && isLease(e.key)) {
			return fmt.Errorf("it has an unexpected key of %d bytes", len(e.key))
		}
	}
	return c.fill(raw)
}

// Format 1 has the records of format 2, no leases, and another header:
//
//	open, doubted until, tolerance, count, digest, checksum
//
// "doubted until" is a time of the wall clock: up to it, a start that found a gap
// refused knocks.
const headerSize1 = 1 + 4 + 4 + 8 + 8 + 8

func decodeForm1(headerValue []byte, raw []entry) (c contents, err error) {
	if err := checkHeader(headerValue, headerSize1, openFlag); err != nil {
		return c, err
	}
	c.header = header{
		open:   headerValue[0] == openFlag,
		served: true,
		count:  binary.BigEndian.Uint64(headerValue[9:]),
		digest: binary.BigEndian.Uint64(headerValue[17:]),
	}
	c.form1Until = binary.BigEndian.Uint32(headerValue[1:])
	return c, c.fillUnnamed(raw, false)
}

// fromForm1 converts the header of a file of format 1. After a crash, or if the
// time up to which the file was doubted is not over, it sets the maximum margin.
func (c *contents) fromForm1(now time.Time) {
	if c.header.open || c.form1Until > seconds(now) {
		c.header.margin = uint32(schedule.MaxTolerance / time.Second)
	}
	c.header.open = false
}

func seconds(t time.Time) uint32 { return uint32(t.Unix()) }

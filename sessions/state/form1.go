package state

import (
	"encoding/binary"
	"time"

	"sallyport/verify/schedule"
)

// Form 1 had records as form 2 has, no leases, and another header:
//
//	open, doubt, tolerance, count, digest, checksum
//
// Its doubt was a time of the clock of the start that made it.
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
	c.until1 = binary.BigEndian.Uint32(headerValue[1:])
	return c, c.fill(raw, false)
}

// fromForm1 says in this form's terms what a start with a file of form 1 has to
// refuse: as much as it can be, if there was a crash, or a doubt that is not
// over.
func (c *contents) fromForm1(now time.Time) {
	if c.header.open || c.until1 > seconds(now) {
		c.header.doubt = uint32(schedule.MaxTolerance / time.Second)
	}
	c.header.open = false
}

func seconds(t time.Time) uint32 { return uint32(t.Unix()) }

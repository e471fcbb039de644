package client

import (
	"fmt"
	"math"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Packet is one knock: a datagram and the port it goes to.
type Packet struct {
	Port     uint16
	Datagram []byte
}

// Sequence returns the n knocks for a time, in the order of their ports, with nonces
// from base on. All have the same timestamp, which is in the minute of their ports.
func Sequence(p Profile, now time.Time, base uint32) ([]Packet, error) {
	return sequenceOf(p, now, base, false)
}

// ClosingSequence is Sequence for knocks that close what the client has open.
func ClosingSequence(p Profile, now time.Time, base uint32) ([]Packet, error) {
	return sequenceOf(p, now, base, true)
}

func sequenceOf(p Profile, now time.Time, base uint32, closes bool) ([]Packet, error) {
	if now.Unix() < 0 || now.Unix() > math.MaxUint32 {
		return nil, fmt.Errorf("the clock shows %s; expected a time from 1970 to 2106, since a timestamp has 32 bits",
			now.UTC().Format(time.RFC3339))
	}
	if uint64(base)+uint64(p.Ports) > 1<<32 {
		return nil, &ExhaustedError{Client: p.Identifier.String()}
	}
	ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(now), p.Ports)
	if err != nil {
		return nil, err
	}
	knocks := make([]Packet, len(ports))
	for i, port := range ports {
		k := wire.Knock{
			Sequence:   int8(i),
			Maximum:    int8(len(ports) - 1),
			Identifier: p.Identifier,
			Timestamp:  uint32(now.Unix()),
			Nonce:      base + uint32(i),
		}
		if closes {
			k = k.SignClosing(p.Secret)
		} else {
			k = k.Sign(p.Secret)
		}
		datagram, err := k.AppendBinary(nil)
		if err != nil {
			return nil, fmt.Errorf("encode knock %d: %w", i, err)
		}
		knocks[i] = Packet{port, datagram}
	}
	return knocks, nil
}

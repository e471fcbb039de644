package client

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Packet is one knock: a datagram and the port it goes to.
type Packet struct {
	Port     uint16
	Datagram []byte
	// Address is where it goes, of a sequence that is split over gateways; invalid: to the
	// address of the sequence.
	Address netip.Addr
}

// Sequence returns the n knocks for a time, in the order of their ports, with nonces
// from base on. All have the same timestamp, which is in the minute of their ports.
func Sequence(p Profile, now time.Time, base uint32) ([]Packet, error) {
	packets, _, err := signSequence(context.Background(), p, now, base, signing{})
	return packets, err
}

// ClosingSequence is Sequence for knocks that close what the client has open.
func ClosingSequence(p Profile, now time.Time, base uint32) ([]Packet, error) {
	packets, _, err := signSequence(context.Background(), p, now, base, signing{closes: true})
	return packets, err
}

// signing is what a sequence is for.
type signing struct {
	numbered bool // its connections begin with the number of the attempt
	closes   bool // it closes
}

// signSequence is Sequence. If s is numbered, it also returns the initial sequence number of
// the attempt. The signer gets all messages at once.
func signSequence(ctx context.Context, p Profile, now time.Time, base uint32, s signing) ([]Packet, wire.ISN, error) {
	if now.Unix() < 0 || now.Unix() > math.MaxUint32 {
		return nil, 0, fmt.Errorf("the clock shows %s; expected a time from 1970 to 2106, since a timestamp has 32 bits",
			now.UTC().Format(time.RFC3339))
	}
	if uint64(base)+uint64(p.Ports) > 1<<32 {
		return nil, 0, &ExhaustedError{Client: p.Identifier.String()}
	}
	ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(now), p.Ports)
	if err != nil {
		return nil, 0, err
	}
	knocks, messages := make([]wire.Knock, len(ports)), make([][]byte, len(ports))
	for i := range ports {
		knocks[i] = wire.Knock{
			Sequence:   int8(i),
			Maximum:    int8(len(ports) - 1),
			Identifier: p.Identifier,
			Timestamp:  uint32(now.Unix()),
			Nonce:      base + uint32(i),
		}
		message := knocks[i].Message()
		messages[i] = message[:]
		if s.closes {
			message := wire.ClosingMessage(message)
			messages[i] = message[:]
		}
	}
	if s.numbered {
		message := wire.ISNMessage(p.Identifier, base)
		messages = append(messages, message[:])
	}
	var macs []MAC
	if p.split != nil && !s.closes {
		macs, err = p.split.sign(ctx, p, len(knocks), messages)
	} else {
		macs, err = p.Sign(ctx, messages...)
	}
	if err != nil {
		return nil, 0, err
	}
	packets := make([]Packet, len(ports))
	for i, k := range knocks {
		k.MAC = macs[i]
		datagram, err := k.AppendBinary(nil)
		if err != nil {
			return nil, 0, fmt.Errorf("encode knock %d: %w", i, err)
		}
		packets[i] = Packet{Port: ports[i], Datagram: datagram}
	}
	if !s.numbered {
		return packets, 0, nil
	}
	return packets, wire.ISNOf(macs[len(ports)][:]), nil
}

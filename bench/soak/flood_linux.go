package soak

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/client"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	// floodRate is datagrams a second: not so many that honest clients lose theirs, so that
	// there is much to judge.
	floodRate = 5000
	floodTick = 10 * time.Millisecond
	// emptyEach makes one packet of these an empty one, for the other protocol.
	emptyEach = 4
)

// flood sends datagrams to live ports, from random addresses, until ctx ends: with random
// identifiers, or with that of a client and a wrong MAC. p has the port secret.
func flood(ctx context.Context, p client.Profile) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	to := serverAddress.As4()
	packet := make([]byte, 28+wire.Size)
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(packet[16:], to[:])
	knock := packet[28:]
	copy(knock, wire.Magic)
	knock[wire.OffsetMaximum] = knocks - 1
	for ctx.Err() == nil {
		now := time.Now()
		ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(now), knocks)
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(knock[wire.OffsetTimestamp:], uint32(now.Unix()))
		for i := range int(floodRate * floodTick / time.Second) {
			size, port := wire.Size, ports[i%knocks]
			knock[wire.OffsetSequence] = byte(i % knocks)
			copy(knock[wire.OffsetIdentifier:], p.Identifier.String())
			switch i % emptyEach {
			case 0:
				size, port = 0, plan.Request.Base+uint16(rand.IntN(1<<13))
			case 1, 2:
				for j := range len(wire.Identifier{}) {
					knock[wire.OffsetIdentifier+j] = byte(' ' + rand.IntN(95))
				}
			}
			binary.BigEndian.PutUint64(knock[wire.OffsetNonce:], rand.Uint64())
			binary.BigEndian.PutUint16(packet[2:], uint16(28+size))
			binary.BigEndian.PutUint16(packet[24:], uint16(8+size))
			binary.BigEndian.PutUint32(packet[12:], 0x0b000000+rand.Uint32N(0x60000000)) // 11.0.0.0 to 106.255.255.255
			binary.BigEndian.PutUint16(packet[20:], uint16(1024+rand.IntN(60000)))
			binary.BigEndian.PutUint16(packet[22:], port)
			if err := unix.Sendto(fd, packet[:28+size], 0, &unix.SockaddrInet4{Addr: to}); err != nil {
				return os.NewSyscallError("sendto", err)
			}
		}
		wait(ctx, floodTick-time.Since(now))
	}
	return nil
}

package prefilter

import (
	"golang.org/x/net/bpf"

	"sallyport/verify/wire"
)

// Steer distributes datagrams over the sockets of a port by the client that they
// name, so that a flood in one client's name fills the queue of one socket. An
// attacker does not know which one.
type Steer struct {
	Seed    uint32 // odd; random
	Sockets int    // 1 to 65,536
}

// Socket returns the number of the socket for datagrams that name a client: the
// high half of the identifier times the seed, scaled to the number of sockets
// (multiply-shift).
func (s Steer) Socket(id wire.Identifier) int {
	x := uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])
	return int((x * s.Seed >> 16) * uint32(s.Sockets) >> 16)
}

// Program returns the same as a program for SO_ATTACH_REUSEPORT_CBPF. There the
// payload begins at 0: unlike a socket's filter, it runs without the UDP header.
// A datagram that is too short for an identifier goes to the first socket.
func (s Steer) Program() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: wire.OffsetIdentifier, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: s.Seed},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: uint32(s.Sockets)},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
		bpf.RetA{},
	}
}

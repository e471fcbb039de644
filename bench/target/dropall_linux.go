package target

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Verdicts of XDP.
const (
	xdpDrop = 1
	xdpPass = 2
)

// dropAll attaches a program to an interface that drops each UDP datagram over IPv4 to a
// port, and passes other frames. It is the least that a refusal at the driver can cost.
// The caller must close the link.
func dropAll(device string, port int) (link.Link, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("find the interface of the reference: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "drop_all", Type: ebpf.XDP, License: "GPL", Instructions: dropAllProgram(uint16(port)),
	})
	if err != nil {
		return nil, fmt.Errorf("load the reference: %w", err)
	}
	defer program.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: i.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attach the reference to %s: %w", device, err)
	}
	return l, nil
}

func dropAllProgram(port uint16) asm.Instructions {
	const (
		typeAt     = 12 // of the Ethernet header
		ipAt       = 14
		protocolAt = ipAt + 9
		portAt     = ipAt + 20 + 2
		end        = portAt + 2
	)
	// wire returns a 16-bit number of the network as this host loads it.
	wire := func(n uint16) int32 {
		return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)))
	}
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // the frame
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // its end
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, end),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, typeAt, asm.Half), asm.JNE.Imm(asm.R4, wire(0x0800), "pass"),
		asm.LoadMem(asm.R4, asm.R2, ipAt, asm.Byte), asm.JNE.Imm(asm.R4, 0x45, "pass"), // no options
		asm.LoadMem(asm.R4, asm.R2, protocolAt, asm.Byte), asm.JNE.Imm(asm.R4, 17, "pass"),
		asm.LoadMem(asm.R4, asm.R2, portAt, asm.Half), asm.JNE.Imm(asm.R4, wire(port), "pass"),
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}
}

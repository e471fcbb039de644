package flood

import (
	"encoding/binary"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Registers that are preserved across calls.
const (
	rPacket = asm.R6
	rState  = asm.R7
	rNow    = asm.R8
	rFrame  = asm.R9
)

// The verdict of XDP.
const xdpDrop = 1

// program returns a program that overwrites its frame with the next frame of the
// stream, and sends it over an interface. While none is due, it drops the frame.
func (m maps) program(s Stream, index, size int) asm.Instructions {
	const (
		next     = int16(unsafe.Offsetof(progress{}.Next))
		interval = int16(unsafe.Offsetof(progress{}.Interval))
		until    = int16(unsafe.Offsetof(progress{}.Until))
		left     = int16(unsafe.Offsetof(progress{}.Left))
		every    = int16(unsafe.Offsetof(progress{}.Every))
		flood    = int16(unsafe.Offsetof(progress{}.Flood))
		floods   = int16(unsafe.Offsetof(progress{}.Floods))
		honest   = int16(unsafe.Offsetof(progress{}.Honest))
		honests  = int16(unsafe.Offsetof(progress{}.Honests))
		sent     = int16(unsafe.Offsetof(progress{}.Frames))
		key      = int16(-4)
	)
	load := func(to asm.Register, field int16) asm.Instruction {
		return asm.LoadMem(to, rState, field, asm.DWord)
	}
	store := func(field int16, from asm.Register) asm.Instruction {
		return asm.StoreMem(rState, field, from, asm.DWord)
	}
	// lookup loads into R0 the address of the map's entry with the key in R1.
	lookup := func(of *ebpf.Map) asm.Instructions {
		return asm.Instructions{
			asm.StoreMem(asm.RFP, key, asm.R1, asm.Word),
			asm.LoadMapPtr(asm.R1, of.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(key)),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "drop"),
		}
	}
	var p asm.Instructions
	add := func(more ...asm.Instruction) { p = append(p, more...) }

	// The frame, if it has the expected length.
	add(
		asm.LoadMem(rPacket, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R3, rPacket), asm.Add.Imm(asm.R3, int32(size)),
		asm.JGT.Reg(asm.R3, asm.R2, "drop"),
		asm.Mov.Imm(asm.R1, 0),
	)
	add(lookup(m.progress)...)
	add(asm.Mov.Reg(rState, asm.R0))

	// Is a frame due?
	add(
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(rNow, asm.R0),
		load(asm.R1, until),
		asm.JGE.Reg(rNow, asm.R1, "drop"),
		load(asm.R3, interval),
		asm.JEq.Imm(asm.R3, 0, "choose"),
		asm.Mov.Reg(asm.R2, rNow), asm.Mul.Imm(asm.R2, ticks),
		load(asm.R1, next),
		asm.JLT.Reg(asm.R2, asm.R1, "drop"),
		asm.Sub.Imm(asm.R2, int32(burst)*ticks), // the earliest time to catch up from
		asm.JGE.Reg(asm.R1, asm.R2, "soon enough"),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Add.Reg(asm.R1, asm.R3).WithSymbol("soon enough"),
		store(next, asm.R1),
	)

	// A flood frame, or an honest one?
	add(
		load(asm.R1, honest).WithSymbol("choose"),
		load(asm.R2, honests),
		asm.JGE.Reg(asm.R1, asm.R2, "flood"),
		load(asm.R3, floods),
		asm.JEq.Imm(asm.R3, 0, "honest"),
		load(asm.R3, left),
		asm.JNE.Imm(asm.R3, 0, "flood"),
	)
	add(
		asm.FnGetPrandomU32.Call().WithSymbol("honest"),
		load(asm.R2, every),
		asm.Add.Reg(asm.R2, asm.R2), asm.Sub.Imm(asm.R2, 1),
		asm.Mod.Reg(asm.R0, asm.R2), asm.Add.Imm(asm.R0, 1),
		store(left, asm.R0),
		load(asm.R1, honest),
		asm.Mov.Reg(asm.R2, asm.R1), asm.Add.Imm(asm.R2, 1),
		store(honest, asm.R2),
	)
	add(lookup(m.stamps)...) // R1 is the index of the honest frame
	add(
		asm.StoreMem(asm.R0, 0, rNow, asm.DWord),
		load(asm.R1, honest), asm.Sub.Imm(asm.R1, 1),
	)
	add(lookup(m.honest)...)
	add(asm.Mov.Reg(rFrame, asm.R0))
	add(copyFrame(size)...)
	add(asm.Ja.Label("send"))

	add(
		load(asm.R3, floods).WithSymbol("flood"),
		asm.JEq.Imm(asm.R3, 0, "drop"), // all honest frames were sent
		load(asm.R3, left),
		asm.JEq.Imm(asm.R3, 0, "counted"),
		asm.Sub.Imm(asm.R3, 1),
		store(left, asm.R3),
		load(asm.R1, flood).WithSymbol("counted"),
		asm.Mov.Reg(asm.R2, asm.R1), asm.Add.Imm(asm.R2, 1),
		load(asm.R3, floods),
		asm.JLT.Reg(asm.R2, asm.R3, "in range"),
		asm.Mov.Imm(asm.R2, 0),
		store(flood, asm.R2).WithSymbol("in range"),
	)
	add(lookup(m.flood)...)
	add(asm.Mov.Reg(rFrame, asm.R0))
	add(copyFrame(size)...)
	if v := s.Vary; v.Mask != [4]byte{} {
		add(
			asm.FnGetPrandomU32.Call(),
			asm.And.Imm(asm.R0, int32(binary.NativeEndian.Uint32(v.Mask[:]))),
			asm.Or.Imm(asm.R0, int32(binary.NativeEndian.Uint32(v.Base[:]))),
			asm.StoreMem(rPacket, int16(HeaderSize+v.Offset), asm.R0, asm.Word),
		)
	}

	add(
		load(asm.R1, sent).WithSymbol("send"),
		asm.Add.Imm(asm.R1, 1),
		store(sent, asm.R1),
		asm.Mov.Imm(asm.R1, int32(index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	)
	return p
}

// copyFrame returns the code that copies a frame from the map over the packet.
func copyFrame(size int) (p asm.Instructions) {
	at := 0
	for _, word := range []asm.Size{asm.DWord, asm.Word, asm.Half, asm.Byte} {
		for ; size-at >= word.Sizeof(); at += word.Sizeof() {
			p = append(p,
				asm.LoadMem(asm.R1, rFrame, int16(at), word),
				asm.StoreMem(rPacket, int16(at), asm.R1, word))
		}
	}
	return p
}

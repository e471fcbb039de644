package sockfilter

import (
	"math"

	"golang.org/x/net/bpf"
)

// label is the target of a jump: an instruction, counted from the program's
// end, or a verdict.
type label int

const (
	refused  label = -1
	accepted label = -2
	none     label = -3
)

// assembler writes a program from its end to its beginning: jumps lead only
// forward, so their targets are already written.
type assembler struct {
	code     []bpf.Instruction
	verdicts [2]label // positions of the nearest refusal and acceptance
}

func (b *assembler) emit(i bpf.Instruction) label {
	b.code = append(b.code, i)
	return label(len(b.code) - 1)
}

// test compares register A with a value. The instructions that it may emit
// after the comparison are reached only by jumps.
func (b *assembler) test(cond bpf.JumpTest, value uint32, yes, no label) label {
	yes, no = b.reachable(yes), b.reachable(no)
	here := label(len(b.code))
	return b.emit(bpf.JumpIf{Cond: cond, Val: value, SkipTrue: uint8(here - yes - 1), SkipFalse: uint8(here - no - 1)})
}

// reachable returns a label that the 8-bit offset of a test can reach, if
// necessary that of a jump to l. Two emitted instructions stay in reach of the
// following test.
func (b *assembler) reachable(l label) label {
	here := label(len(b.code))
	verdict := l < 0
	i := -l - 1
	if verdict {
		l = b.verdicts[i]
	}
	if l >= 0 && here+1-l-1 <= math.MaxUint8 {
		return l
	}
	if !verdict {
		return b.emit(bpf.Jump{Skip: uint32(here - l - 1)})
	}
	b.verdicts[i] = b.emit([2]bpf.Instruction{refuse, accept}[i])
	return b.verdicts[i]
}

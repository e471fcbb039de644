package sockfilter

import (
	"math"

	"golang.org/x/net/bpf"
)

// label is where to go on: at an instruction, counted from the program's end,
// or with a verdict.
type label int

const (
	refused  label = -1
	accepted label = -2
	none     label = -3
)

// backward writes a program from its end to its beginning: jumps lead forward
// only, so what one leads to is there already.
type backward struct {
	code []bpf.Instruction
	rets [2]label // the nearest refusal and acceptance
}

func (b *backward) emit(i bpf.Instruction) label {
	b.code = append(b.code, i)
	return label(len(b.code) - 1)
}

// test compares register A with a value. Nothing but a jump leads to what it
// may put behind itself.
func (b *backward) test(cond bpf.JumpTest, value uint32, yes, no label) label {
	yes, no = b.near(yes), b.near(no)
	here := label(len(b.code))
	return b.emit(bpf.JumpIf{Cond: cond, Val: value, SkipTrue: uint8(here - yes - 1), SkipFalse: uint8(here - no - 1)})
}

// near returns a label that a test's 8 bits reach, if need be of a jump to the
// one given. Two of them stay in reach of the test after them.
func (b *backward) near(l label) label {
	here := label(len(b.code))
	verdict := l < 0
	i := -l - 1
	if verdict {
		l = b.rets[i]
	}
	if l >= 0 && here+1-l-1 <= math.MaxUint8 {
		return l
	}
	if !verdict {
		return b.emit(bpf.Jump{Skip: uint32(here - l - 1)})
	}
	b.rets[i] = b.emit([2]bpf.Instruction{refuse, accept}[i])
	return b.rets[i]
}

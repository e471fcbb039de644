//go:build amd64 || arm64

package sandbox

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// namespaces are the flags of clone(2) that make one.
const namespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

// The fields of struct seccomp_data. The first argument is its lower half: the kernel
// ignores the upper half of a family, and of the flags of clone(2).
var (
	number        = bpf.LoadAbsolute{Off: 0, Size: 4}
	architecture  = bpf.LoadAbsolute{Off: 4, Size: 4}
	firstArgument = bpf.LoadAbsolute{Off: 16, Size: 4}
)

// The results of a call.
var (
	accept = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	end    = bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS}
	refuse = bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
)

// filter returns the program of a profile. A call by the numbers of another processor
// is refused.
func (p Profile) filter() []bpf.Instruction {
	program := []bpf.Instruction{architecture, bpf.JumpIf{Cond: bpf.JumpEqual, Val: processor, SkipTrue: 1}, refuse, number}
	decide := func(result bpf.Instruction, calls ...uint32) {
		for _, call := range calls {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: 1}, result)
		}
	}
	decide(accept, allowedOnAll...)
	decide(accept, allowedHere...)
	decide(end, fatalOnAll...)
	decide(end, fatalHere...)
	if p.BPF {
		decide(accept, unix.SYS_BPF)
	}
	decide(end, unix.SYS_BPF)
	program = append(program, p.socket()...)
	return append(program, clone()...)
}

// socket decides socket(2). Other calls continue behind it.
func (p Profile) socket() []bpf.Instruction {
	program := []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SOCKET, SkipTrue: uint8(3 + len(p.Families))}, firstArgument}
	for i, family := range p.Families {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(family), SkipTrue: uint8(len(p.Families) - i)})
	}
	return append(program, end, accept)
}

// clone decides clone(2), and refuses all other calls. A thread may begin, a process
// may not. clone3(2) has its flags in memory, which a filter cannot read: it is refused,
// and C libraries then call clone(2).
func clone() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE, SkipTrue: 5},
		firstArgument,
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaces, SkipFalse: 1},
		end,
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_THREAD, SkipFalse: 1},
		accept,
		refuse,
	}
}

package schedule

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Generator is the algorithm that draws ports from a digest. Client and server
// must use the same one. The zero value is the default.
type Generator uint8

const (
	// Algorithm1 follows the paper's Algorithm 1.
	Algorithm1 Generator = iota
	// Java does what the protocol's first implementation does.
	Java
)

var generatorNames = [...]string{Algorithm1: "algorithm1", Java: "java"}

func (g Generator) String() string {
	if int(g) < len(generatorNames) {
		return generatorNames[g]
	}
	return "unknown"
}

// ParseGenerator reads a generator's name, as configurations write it.
func ParseGenerator(name string) (Generator, error) {
	for g, n := range generatorNames {
		if n == name {
			return Generator(g), nil
		}
	}
	return 0, fmt.Errorf("expected %q or %q, got %q", Algorithm1, Java, name)
}

// algorithm1 takes the top 16 bits of each output of a PCG as a candidate.
func algorithm1(digest [md5.Size]byte) func() (uint16, bool) {
	pcg := rand.NewPCG(binary.BigEndian.Uint64(digest[:8]), binary.BigEndian.Uint64(digest[8:]))
	return func() (uint16, bool) {
		p := uint16(pcg.Uint64() >> 48)
		return p, p >= MinPort
	}
}

// The linear congruential generator of the Java platform.
const (
	lcgMultiplier = 0x5DEECE66D
	lcgIncrement  = 0xB
	lcgMask       = 1<<48 - 1
)

// java repeats the first implementation bit by bit, with its errors: its seed
// has the product d0·256·d1 where it most likely intended shifts, and its bounds
// exclude 1025 and 65535.
func java(digest [md5.Size]byte) func() (uint16, bool) {
	half := func(i int) int32 {
		d := func(j int) int32 { return int32(int8(digest[i+j])) }
		return d(0)*256*d(1) + 65536*d(2) + 16777216*d(3)
	}
	seed := int64(half(0) ^ half(4))
	state := (uint64(seed) ^ lcgMultiplier) & lcgMask
	return func() (uint16, bool) {
		state = (state*lcgMultiplier + lcgIncrement) & lcgMask
		draw := state >> 17
		p := uint16(65536 * draw >> 31)
		return p, p > MinPort && p < MaxPort
	}
}

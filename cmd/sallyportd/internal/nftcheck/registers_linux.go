package nftcheck

import (
	"golang.org/x/sys/unix"
)

// registerBytes is how much the registers of a rule hold.
const registerBytes = 64

// registers are the values that a rule has loaded of a packet, as far as they
// are known.
type registers struct {
	bytes [registerBytes]byte
	known uint64 // a bit for each byte
	port  int    // the offset of the port, if it is one of several; -1: it is not loaded
}

// offset returns where a register begins: there are 4 registers of 16 bytes, and
// 16 of 4 bytes in the same memory.
func offset(register uint64) (at int, ok bool) {
	switch {
	case register >= unix.NFT_REG_1 && register <= unix.NFT_REG_4:
		return int(register-unix.NFT_REG_1) * 16, true
	case register >= unix.NFT_REG32_00 && register <= unix.NFT_REG32_15:
		return int(register-unix.NFT_REG32_00) * registerWord, true
	}
	return 0, false
}

// set stores a value; the bytes outside the mask are not known. If the value
// does not fit, no register is known afterwards.
func (r *registers) set(register uint64, value []byte, mask uint64) {
	at, ok := offset(register)
	if !ok || at+len(value) > registerBytes {
		r.forget()
		return
	}
	for i, b := range value {
		r.bytes[at+i] = b
		r.known &^= 1 << (at + i)
		r.known |= mask >> i & 1 << (at + i)
	}
	// The kernel fills up the word.
	for i := at + len(value); i%registerWord != 0; i++ {
		r.bytes[i] = 0
		r.known |= 1 << i
	}
	if r.port >= at && r.port < at+max(len(value), registerWord) {
		r.port = -1
	}
}

// forget is for expressions that load values which this package does not follow.
func (r *registers) forget() { r.known, r.port = 0, -1 }

// get returns n bytes; whole is false if some are not known.
func (r *registers) get(register uint64, n int) (value []byte, known uint64, whole bool) {
	at, ok := offset(register)
	if !ok || n <= 0 || at+n > registerBytes {
		return nil, 0, false
	}
	known = r.known >> at & mask(n)
	return r.bytes[at : at+n], known, known == mask(n)
}

// holdsPort reports whether a register holds the port, if that is one of
// several, and nothing else.
func (r *registers) holdsPort(register uint64, n int) bool {
	at, ok := offset(register)
	return ok && n == 2 && r.port == at
}

// mask has a bit for each of n bytes.
func mask(n int) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return 1<<n - 1
}

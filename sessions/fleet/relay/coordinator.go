package relay

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
)

// MaxGateways is the maximum number of gateways that relay to each other.
const MaxGateways = 16

// ID is the identifier of a gateway: the first 8 bytes of SHA-256 of its name.
type ID [8]byte

// IDOf returns the identifier of a name.
func IDOf(name string) (id ID) {
	sum := sha256.Sum256([]byte(name))
	copy(id[:], sum[:])
	return id
}

func (i ID) compare(other ID) int { return slices.Compare(i[:], other[:]) }

// sourceOf returns the 16 bytes that stand for a source: those of an IPv4 address, as an
// IPv4-mapped one, or the /64 of an IPv6 address, with zeros. So a coordinator has all
// addresses of a /64, as the table of exchanges does.
func sourceOf(a netip.Addr) (b source) {
	a = a.Unmap()
	b = a.As16()
	if a.Is6() {
		clear(b[8:])
	}
	return b
}

// relayable reports whether packets of a source may be relayed. Loopback and link-local
// addresses mean another host at each gateway.
func relayable(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && a.Zone() == ""
}

// chooser chooses coordinators: rendezvous hashing by CBC-MAC with AES-256, of two blocks.
// The key is secret, so that an attacker cannot choose addresses of one coordinator.
type chooser struct {
	block cipher.Block
	ids   []ID
	masks [][16]byte // of each ID, with zeros

	source source   // of a call
	score  [16]byte // of a call
}

func newChooser(block cipher.Block, ids []ID) *chooser {
	c := &chooser{block: block, ids: ids, masks: make([][16]byte, len(ids))}
	for i, id := range ids {
		copy(c.masks[i][:], id[:])
	}
	return c
}

// of returns the index of the coordinator of a source, among the gateways of a set; -1: the
// set is empty. The gateway with the highest score is the coordinator, so a gateway that
// leaves the set moves only its own sources.
func (c *chooser) of(a netip.Addr, among set) int {
	c.source = sourceOf(a)
	c.block.Encrypt(c.source[:], c.source[:])
	best, highest := -1, uint64(0)
	for i, mask := range c.masks {
		if !among.has(i) {
			continue
		}
		for j := range mask {
			c.score[j] = c.source[j] ^ mask[j]
		}
		c.block.Encrypt(c.score[:], c.score[:])
		n := binary.BigEndian.Uint64(c.score[:])
		if best < 0 || n > highest || n == highest && c.ids[i].compare(c.ids[best]) < 0 {
			best, highest = i, n
		}
	}
	return best
}

// set is a set of gateways, by their indices.
type set uint16

func (s set) has(i int) bool { return s>>i&1 == 1 }
func (s set) with(i int) set { return s | 1<<i }

// eligible returns the gateways that may coordinate, as one gateway sees it. Hears has what
// it knows of each: which gateways that one hears. Known are those of which it knows that;
// it knows its own.
//
// A gateway is eligible if it hears each gateway that is alive, and each of these hears
// it, as far as that is known. A gateway is alive if this one hears it, or one that this
// one hears does. So after a cut between two gateways, a third that both hear is the
// choice of all.
func eligible(own int, known set, hears []set) (all set) {
	here := hears[own].with(own)
	alive := here
	for i, h := range hears {
		if known.has(i) && here.has(i) {
			alive |= h
		}
	}
	for i := range hears {
		if !here.has(i) {
			continue
		}
		ok := true
		for j := range hears {
			if j == i || !alive.has(j) {
				continue
			}
			ok = ok && (!known.has(i) || hears[i].has(j)) && (!known.has(j) || hears[j].has(i))
		}
		if ok {
			all = all.with(i)
		}
	}
	return all
}

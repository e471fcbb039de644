package xdp

import (
	"sync/atomic"
	"time"

	"sallyport/verify/wire"
)

// The layout of the arrays that the program in the kernel and the server share. It is
// the same in bpf/layout.h. Numbers are in the byte order of the host, except for the
// bytes of a datagram and of addresses.

// Settings is the only entry of the array "settings". The server writes Flags, Window
// and Beat.
type Settings struct {
	Flags  atomic.Uint32 // flag…
	Window uint32        // size of the replay window, in nonces
	Seeds  [4]uint32     // of the hashes of identifiers and shares; odd, random; set by Load

	// The sizes of the arrays, set by Load.
	Processors uint32 // rings, and entries of "counters"
	Slots      uint32 // records of a ring, a power of two
	Buckets    uint32 // of "identifiers", a power of two
	_          uint32

	// Beat is when the server last showed that it runs: CLOCK_MONOTONIC, nanoseconds.
	// If it is older than BeatLimit, or more than beatAhead in the future, the program
	// passes each datagram to the sockets.
	Beat atomic.Uint64
	_    [16]byte
}

const (
	// BeatInterval is how often the server must call Beat.
	BeatInterval = time.Second
	// BeatLimit is how old a beat may be.
	BeatLimit = 5 * time.Second
	// beatAhead: the program reads the coarse clock, which is some milliseconds behind
	// that of the server.
	beatAhead = time.Second
)

// The flags of Settings.
const (
	FlagClients = 1 << iota // the array "identifiers" has all clients; otherwise any printable identifier passes
	FlagNonces              // refuse by the nonce
	FlagShares              // shares, when a ring fills
	FlagRing                // a server reads the rings; otherwise what passes goes to the sockets
	FlagEmpty               // empty datagrams go to the kernel, for package capture
	FlagMirror              // drop nothing: count, and pass every frame to the kernel
)

// The array "ports" has the number of a row, from 1, for each UDP port, 0 for a port
// that takes no knocks: four 16-bit numbers in each entry of 64 bits, that of the lowest
// port in the lowest bits. Only the server writes it.
const (
	PortEntries = 1 << 16 / 4
	Rows        = 4096 // row 0 is not used
	RowPlaces   = 8
)

// Row is an entry of the array "rows": the places of a port. A place is one word, so
// that the server replaces it at once (PackPlace). 0: no place.
type Row [RowPlaces]atomic.Uint64

// The bits of a place, from the lowest: first timestamp that is accepted, modulo 2^32
// (32), index (8), lowest and highest maximum (8 each), flags (8). The last timestamp is
// PlaceSeconds-1 later. A row without a valid place refuses each datagram.
const (
	PlaceIndex   = 32
	PlaceLowest  = 40
	PlaceHighest = 48
	PlaceValid   = 1 << 56
	PlaceSocket  = 1 << 57 // only in the first place: this port's datagrams go to its socket unchecked

	PlaceSeconds = 64 // a minute, and the slack before and after it
)

// Entry is one client of the array "identifiers", which is a hash table of buckets with
// two choices: an identifier is in the bucket Hash(id, Seeds[0]) or Hash(id, Seeds[1]).
type Entry struct {
	ID       atomic.Uint32 // the four bytes as in the datagram; 0: free
	Highest  atomic.Uint32 // the highest nonce of the secret; 0: unknown, any nonce passes
	Previous atomic.Uint32 // the same for the secret before a rotation; 0: there is none
	Ahead    atomic.Uint32 // written by the program: datagrams refused because their nonce was too far ahead
}

// Bucket is an entry of the array "identifiers", whose number of entries is a power of
// two.
type Bucket [4]Entry

// The array "filter" is a Bloom filter of the identifiers (Bloom, 1970) with both bits of
// an identifier in one word, and a word for four buckets. A flood of unknown identifiers
// reads little else, and the processor's cache has room for it: in a
// shield for a million clients, 1 MiB of filter and 32 MiB of entries. With a million in
// it, one unknown identifier in some twenty goes on to an entry; with half of them, which
// is what the server asks for, one in some sixty. Only the server writes it.

// FilterBits returns the bits of an identifier, as in Entry.ID, for Seeds[3]. Their word is
// Hash(id, Seeds[2]).
func FilterBits(id, seed uint32) uint64 {
	h := id * seed
	return 1<<(h>>26) | 1<<(h>>20&63)
}

// MaxAhead is how far a nonce may be above the highest one.
const MaxAhead = wire.MaxAhead

// Hash returns the number of a bucket or of a word of the filter, of 1<<bits: id is the
// identifier as in Entry.ID.
func Hash(id, seed uint32, bits uint) uint32 { return uint32(uint64(id*seed) << bits >> 32) }

// Control is an entry of the array "control": the ring of one processor. Records
// from Tail to Head-1 are unread; record n is at index cpu*slots + n%slots of the array
// "records". Slots is a power of two.
type Control struct {
	Head     atomic.Uint64 // written by the program
	Tick     uint64        // jiffies, when the program last looked at the clock
	Beats    uint32        // 1: Settings.Beat was not too old then
	_        [44]byte
	Tail     atomic.Uint64 // written by the server
	_        [56]byte
	Sleeping atomic.Uint32 // set by the server before it waits; the program clears it and wakes the server ("wake")
	_        [60]byte
}

// Record is an entry of the array "records": a datagram that has passed.
type Record struct {
	Datagram [48]byte
	Source   [16]byte // IPv4: ::ffff:a.b.c.d
	Arrival  uint64   // CLOCK_MONOTONIC, nanoseconds
	Port     uint16   // source port
	To       uint16   // destination port
	_        uint32
	Shares   [4]uint16
	Counted  uint32 // 1: Shares are the indexes in the four tables of "shares" that this record has increased
	_        uint32
}

// ShareEntries is the number of entries in each of the four tables of shares that a
// ring has in the array "shares": two of identifiers, two of identifiers with their
// source prefix. Entry i of table t is at index (cpu*4+t)*ShareEntries + i. An identity
// takes, at most, the smaller number of its two entries.
const ShareEntries = 4096

// Share counts the records of an identity: those in the ring are Pushed - Taken, modulo
// 2^32.
type Share struct {
	Pushed uint32        // written by the program
	Taken  atomic.Uint32 // written by the server
}

// The counters of a processor: its entry of the array "counters". Each frame is in
// exactly one.
const (
	CountOther  = iota // passed: not UDP to a live knock port at an address of this host
	CountEmpty         // passed: an empty datagram, for package capture
	CountFlow          // passed: of a flow that the kernel tracks
	CountSocket        // passed to the socket by a rule: fragments, headers that the program does not read
	CountSize          // refused, by this rule and the next ones
	CountMagic
	CountMalformed
	CountMaximum
	CountSequence
	CountMinute
	CountIdentifier
	CountBelow // the nonce is below the window
	CountAhead // the nonce is more than MaxAhead above the highest one
	CountShare // dropped: the identity has its share of a ring that fills
	CountFull  // dropped: the ring was full
	CountRing  // in the ring
	NumCounts

	counterSlots = 32 // words of an entry
)

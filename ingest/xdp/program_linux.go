package xdp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
)

// Sizes are those of the arrays.
type Sizes struct {
	// Clients is the number of identifiers that must fit, at most MaxClients.
	// 0: DefaultClients.
	Clients int
	// Slots is the number of records of each ring. 0: DefaultSlots. Load rounds it up
	// to a power of two, at least 1<<10 and at most 1<<16, and on a host with very many
	// processors lowers it.
	Slots int
}

const (
	DefaultClients = 1024
	MaxClients     = 1 << 22

	// DefaultSlots hold a flood of three million knocks a second for 5 ms, longer than
	// a reader usually waits for a processor. A ring has 96 bytes a record.
	DefaultSlots = 1 << 14

	minSlots, maxSlots = 1 << 10, 1 << 16

	// maxRecords is the limit for all rings together, 192 MiB: on a host with very many
	// processors, each ring is smaller.
	maxRecords = 1 << 21

	maxAddresses = 4096

	foundSlots = 8 // of each processor, in the array "found" that only the program has
)

// Program is the loaded program with its arrays. It is not safe for concurrent use.
type Program struct {
	arrays    map[string]*ebpf.Map
	files     map[string]*os.File
	addresses *ebpf.Map
	host      *ebpf.Map
	native    *ebpf.Program
	generic   *ebpf.Program
	present   map[key]bool // in addresses
	tracks    bool
	state     hostState // in host
}

// round returns the sizes of the arrays: buckets of identifiers, and records of a ring.
func (s Sizes) round(processors int) (buckets, slots uint32, err error) {
	if s.Clients == 0 {
		s.Clients = DefaultClients
	}
	if s.Clients < 0 || s.Clients > MaxClients {
		return 0, 0, fmt.Errorf("got %d clients, expected at most %d", s.Clients, MaxClients)
	}
	if s.Slots == 0 {
		s.Slots = DefaultSlots
	}
	if s.Slots < 0 || s.Slots > maxSlots {
		return 0, 0, fmt.Errorf("got %d records of a ring, expected at most %d", s.Slots, maxSlots)
	}
	slots = power(max(s.Slots, minSlots))
	for slots > minSlots && int(slots)*processors > maxRecords {
		slots /= 2
	}
	// Half of the entries stay free, so that each identifier finds one.
	return power(max(s.Clients/2, 64)), slots, nil
}

// power returns the lowest power of two that is at least n.
func power(n int) uint32 { return 1 << bits.Len32(uint32(n-1)) }

// Load loads the program and creates its arrays. It requires CAP_BPF and CAP_NET_ADMIN
// in the initial user namespace, or in another one with a BPF token, which the library
// gets from a mounted BPF file system; the error wraps ErrPrivilege, ErrKernel or
// ErrProcessor if that is the cause. The program refuses nothing until it has addresses
// and a server has set rules.
//
// The program with the lookup of flows comes first. Where the kernel does not grant it,
// ports that may belong to flows go to their sockets (see CheckFlows).
func Load(sizes Sizes) (*Program, error) { return loadFirst(sizes, withFlows, withoutFlows) }

// variants are the names of the programs for both modes.
type variants struct{ native, generic string }

var (
	withFlows    = variants{nativeFlows, genericFlows}
	withoutFlows = variants{nativePorts, genericPorts}
)

// loadFirst loads the first of several variants that the kernel accepts.
func loadFirst(sizes Sizes, choice ...variants) (*Program, error) {
	if realtime() {
		return nil, fmt.Errorf("load the shield: %w: it has PREEMPT_RT, where the programs of two frames can interrupt each other on a processor", ErrKernel)
	}
	spec, err := loadShield()
	if err != nil {
		return nil, err
	}
	settings, err := configure(spec, sizes)
	if err != nil {
		return nil, fmt.Errorf("load the shield: %w", err)
	}
	var collection *ebpf.Collection
	for _, v := range choice {
		if collection, err = load(spec, v); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load the shield: %w", explain(arrayError{causeOf(err)}))
	}
	p, err := newProgram(collection)
	if err == nil {
		err = p.arrays["settings"].Put(uint32(0), settings)
	}
	if err == nil {
		p.CheckFlows() // after an error, all ports may have flows
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("load the shield: %w", err)
	}
	return p, nil
}

// newProgram takes the parts of a collection, and closes the others.
func newProgram(c *ebpf.Collection) (*Program, error) {
	p := &Program{arrays: map[string]*ebpf.Map{}, present: map[key]bool{}}
	p.native, p.generic = c.DetachProgram(nativeFlows), c.DetachProgram(genericFlows)
	if p.native == nil {
		p.native, p.generic = c.DetachProgram(nativePorts), c.DetachProgram(genericPorts)
	}
	p.addresses, p.host = c.DetachMap("addresses"), c.DetachMap(hostData)
	for _, name := range ArrayNames {
		p.arrays[name] = c.DetachMap(name)
	}
	c.Close()
	if p.native == nil || p.generic == nil {
		return p, errors.New("no known program")
	}
	if err := p.host.Lookup(uint32(0), &p.state); err != nil {
		return p, fmt.Errorf("read what the holder has written: %w", err)
	}
	info, err := p.native.Info()
	if err != nil {
		return p, fmt.Errorf("read the name of the program: %w", err)
	}
	p.tracks = info.Name == nativeFlows
	return p, p.open()
}

// configure sets the sizes of the arrays, and returns the first settings.
func configure(spec *ebpf.CollectionSpec, sizes Sizes) ([]byte, error) {
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the processors: %w", err)
	}
	buckets, slots, err := sizes.round(processors)
	if err != nil {
		return nil, err
	}
	n, words := uint32(processors), uint32(filterWords(int(buckets)))
	for name, entries := range map[string]uint32{
		"identifiers": buckets,
		"filter":      words,
		"counters":    n * counterSlots,
		"control":     n,
		"records":     n * slots,
		"shares":      n * 4 * ShareEntries,
		"wake":        uint32(os.Getpagesize()),
		"addresses":   maxAddresses,
		"found":       n * foundSlots,
	} {
		spec.Maps[name].MaxEntries = entries
	}
	if err := spec.Variables["bucket_bits"].Set(uint32(bits.TrailingZeros32(buckets))); err != nil {
		return nil, err
	}
	if err := spec.Variables["filter_bits"].Set(uint32(bits.TrailingZeros32(words))); err != nil {
		return nil, err
	}
	if err := spec.Variables["slots"].Set(slots); err != nil {
		return nil, err
	}
	s := Settings{Processors: n, Slots: slots, Buckets: buckets}
	for i := range s.Seeds {
		var random [4]byte
		rand.Read(random[:])
		s.Seeds[i] = binary.NativeEndian.Uint32(random[:]) | 1
	}
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&s)), unsafe.Sizeof(s))...), nil
}

// The variants of the program: by the driver or the kernel, with and without the lookup
// of flows.
const (
	nativeFlows  = "native_flows"
	nativePorts  = "native_ports"
	genericFlows = "generic_flows"
	genericPorts = "generic_ports"

	hostData = ".data.host"
)

// load loads a variant, and creates the arrays.
func load(spec *ebpf.CollectionSpec, v variants) (*ebpf.Collection, error) {
	spec = spec.Copy()
	for name := range spec.Programs {
		if name != v.native && name != v.generic {
			delete(spec.Programs, name)
		}
	}
	return ebpf.NewCollection(spec)
}

// Tracks reports whether the program looks up the kernel's flows.
func (p *Program) Tracks() bool { return p.tracks }

// Close releases the program and its arrays. Links and mappings hold what they use.
func (p *Program) Close() error {
	var all []error
	for _, f := range p.files {
		all = append(all, f.Close())
	}
	for _, m := range p.arrays {
		all = append(all, m.Close())
	}
	all = append(all, p.addresses.Close(), p.host.Close(), p.native.Close(), p.generic.Close())
	return errors.Join(all...)
}

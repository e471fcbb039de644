package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sallyport/sessions/client"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Shot is a datagram and its destination port.
type Shot struct {
	Port    uint16
	Payload []byte
}

// Aim is an attacker's knowledge of a server: in the worst case, everything
// except the secrets of its clients.
type Aim struct {
	Profiles []client.Profile // of honest clients
	Clients  int              // the number of all clients
	Now      time.Time
	Random   *rand.Rand
	// Nonces are the next ones of the first clients, which an attacker on the path reads
	// from their knocks; see Kind.Sniffed.
	Nonces []uint32
	// Replays are datagrams that the server has already received.
	Replays []Shot
}

// Kind is a kind of flood.
type Kind struct {
	Name  string // in results; of a-z and -
	Title string
	// Ports is the number of knocks in a sequence; 0: any.
	Ports int
	// Reasons are the server's counters for its datagrams.
	Reasons []string
	// Replayed kinds require an Aim with Replays.
	Replayed bool
	// Others means that the first client does not knock honestly: the flood names
	// it.
	Others bool
	// Alone means that only the first client knocks honestly: the flood names it.
	Alone bool
	// Varied kinds name all clients, at random.
	Varied bool
	// Sniffed kinds have nonces that their client could use next. The others have random
	// ones, as of an attacker who has seen no knock of the client.
	Sniffed bool
	Sources Sources

	knock    func(*draft) // changes a knock that is valid except for its HMAC
	datagram func(*draft) // changes the datagram made from it
}

// Sources are the addresses from which a flood comes.
type Sources int

const (
	ManyNetworks   Sources = iota // spoofed, hundreds of networks
	OneNetwork                    // of an attacker who cannot spoof
	ClientsNetwork                // spoofed, that of the only honest client
)

// All are all kinds of flood, in the order of the checks that refuse them.
var All = []Kind{
	{Name: "closed", Title: "closed ports", datagram: func(d *draft) { d.port = d.closed() }},
	{Name: "junk", Title: "junk of random length", Reasons: []string{"size"}, datagram: junk},
	{Name: "wrong-length", Title: "wrong length", Reasons: []string{"size"}, datagram: func(d *draft) {
		d.raw = append(d.raw, 0)
	}},
	{Name: "bad-magic", Title: "bad magic", Reasons: []string{"magic"}, datagram: func(d *draft) {
		d.raw[wire.OffsetMagic] ^= 0x20
	}},
	{
		Name: "wrong-sequence", Title: "wrong sequence for the port", Ports: 3, Reasons: []string{"sequence"},
		knock: func(d *draft) { d.knock.Sequence = (d.knock.Sequence + 1) % (d.knock.Maximum + 1) },
	},
	{Name: "stale", Title: "stale timestamp", Reasons: []string{"minute"}, knock: func(d *draft) {
		d.knock.Timestamp -= 300
	}},
	{Name: "unknown", Title: "unknown identifier", Reasons: []string{"identifier"}, knock: func(d *draft) {
		d.knock.Identifier[3] = '0' + byte(d.random.IntN(10)) // no client has it
	}},
	{Name: "bad-mac", Title: "known identifier, bad HMAC", Reasons: []string{"mac"}, Varied: true},
	{
		Name: "one-client", Title: "bad HMAC, all in one client's name", Reasons: []string{"mac"}, Others: true,
		knock: first,
	},
	{Name: "sniffed", Title: "known identifier, sniffed nonces, bad HMAC", Reasons: []string{"mac"}, Sniffed: true},
	{
		Name: "named", Title: "sniffed nonces, bad HMAC, all in one client's name", Reasons: []string{"mac"}, Others: true, Sniffed: true,
		knock: first,
	},
	{
		Name: "named-alone", Title: "sniffed nonces, bad HMAC, in the name of the only honest client, and spoofed from its network",
		Reasons: []string{"mac"}, Alone: true, Sniffed: true, Sources: ClientsNetwork, knock: first,
	},
	{
		Name: "named-one-network", Title: "sniffed nonces, bad HMAC, in the name of the only honest client, from one other network",
		Reasons: []string{"mac"}, Alone: true, Sniffed: true, Sources: OneNetwork, knock: first,
	},
	{Name: "replay", Title: "replays of real knocks", Reasons: []string{"below", "session_replay"}, Replayed: true},
}

// ByName returns a kind.
func ByName(name string) (Kind, bool) {
	for _, k := range All {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// ClientID returns the identifier of the i-th client. Each byte has five bits of
// i, so that a generator can name any client at random (see flood.Vary).
func ClientID(i int) (id wire.Identifier) {
	for k := range id {
		id[k] = '@' | byte(i>>(5*k))&0x1f
	}
	return id
}

// MaxClients is the number of identifiers that ClientID has.
const MaxClients = 1 << 20

// draft is a datagram under construction.
type draft struct {
	knock  wire.Knock
	raw    []byte
	port   uint16
	random *rand.Rand
}

// Shots returns n datagrams of the kind. Those of a Varied kind name the first
// clients; see ClientID for the others.
func (k Kind) Shots(a Aim, n int) ([]Shot, error) {
	if k.Replayed {
		if len(a.Replays) == 0 {
			return nil, errors.New("a flood of replays requires datagrams to replay")
		}
		return a.Replays, nil
	}
	places, err := client.Sequence(a.Profiles[0], a.Now, 0)
	if err != nil {
		return nil, fmt.Errorf("draw the ports: %w", err)
	}
	clients := a.Clients
	if k.Sniffed && len(a.Nonces) > 0 {
		clients = len(a.Nonces)
	}
	shots := make([]Shot, n)
	for i := range shots {
		sequence := i % len(places)
		d := draft{port: places[sequence].Port, random: a.Random, knock: wire.Knock{
			Sequence: int8(sequence), Maximum: int8(len(places) - 1),
			Timestamp: uint32(a.Now.Unix()), Nonce: 1<<31 | a.Random.Uint32(), // above every window
		}}
		client := a.Random.IntN(clients)
		d.knock.Identifier = ClientID(client)
		if k.Others || k.Alone {
			client = 0
		}
		if k.Sniffed && client < len(a.Nonces) {
			d.knock.Nonce = a.Nonces[client] + a.Random.Uint32N(nonceSpread)
		}
		for j := range d.knock.MAC {
			d.knock.MAC[j] = byte(a.Random.Uint32())
		}
		if k.knock != nil {
			k.knock(&d)
		}
		if d.raw, err = d.knock.AppendBinary(nil); err != nil {
			return nil, fmt.Errorf("make a datagram: %w", err)
		}
		if k.datagram != nil {
			k.datagram(&d)
		}
		shots[i] = Shot{d.port, d.raw}
	}
	return shots, nil
}

// nonceSpread is how many nonces of a client a sniffed flood uses. A server takes jumps
// that are much greater, and honest knocks pass by only few of them.
const nonceSpread = 1 << 16

// first names the first client.
func first(d *draft) { d.knock.Identifier = ClientID(0) }

// Knocks returns the knocks of one honest attempt of a profile, with nonces
// from base on.
func Knocks(p client.Profile, now time.Time, base uint32) ([]Shot, error) {
	packets, err := client.Sequence(p, now, base)
	if err != nil {
		return nil, fmt.Errorf("make honest knocks: %w", err)
	}
	shots := make([]Shot, len(packets))
	for i, p := range packets {
		shots[i] = Shot{p.Port, p.Datagram}
	}
	return shots, nil
}

// junk makes a random datagram of any length except that of a knock.
func junk(d *draft) {
	n := 1 + d.random.IntN(80)
	if n >= wire.Size {
		n++
	}
	d.raw = make([]byte, n)
	for i := range d.raw {
		d.raw[i] = byte(d.random.Uint32())
	}
}

// closed returns a port below those that a schedule can draw.
func (d *draft) closed() uint16 { return uint16(1 + d.random.IntN(schedule.MinPort-2)) }

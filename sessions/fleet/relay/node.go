package relay

import (
	"crypto/cipher"
	"io"
	"net/netip"
	"slices"
	"time"

	"sallyport/sessions/handshakes/limit"
)

// Times of a node.
const (
	// Beat is the time between two datagrams to each gateway, if no packets are relayed.
	Beat = time.Second
	// Silence is how long a gateway counts as alive after its last datagram.
	Silence = 3*Beat + Beat/2
	// Delay is how long a packet waits for others of its datagram.
	Delay = 2 * time.Millisecond
	// answerPause is the least time between two datagrams that answer one of an unknown run.
	answerPause = 100 * time.Millisecond
)

// node has all the state of a relay, and makes its decisions. Its caller passes the time,
// of a clock that is never set, and sends what is in outgoing.
type node struct {
	own      int
	run      Run
	random   io.Reader
	peers    []peer // by index, with this gateway; ascending by ID
	byAddr   map[netip.AddrPort]int
	chooser  *chooser
	bounds   bounds
	reserve  reserve
	key      Key
	eligible set // the gateways that may coordinate
	// announced is when it last sent a datagram to all, before a beat.
	announced time.Time
	room      int // for packets in a datagram
	stats     Stats
	outgoing  []outgoing
	changed   []change
	plain     []byte   // of one call
	packets   []Packet // of one call
}

// peer is a gateway, as another one knows it.
type peer struct {
	id   ID
	name string
	addr netip.AddrPort

	// To receive:
	run     Run // the current one; valid if known is
	known   bool
	in      cipher.AEAD // of the run
	window  window
	token   token // of this gateway for the peer
	heard   time.Time
	forged  time.Time // of the last datagram from its address that was not authentic
	reports set       // the gateways that the peer hears
	limit   limit.Rate

	// To send:
	echo     token // the peer's token for this gateway; zeros: not known
	out      cipher.AEAD
	counter  uint64
	announce []source // known ones, in the next datagram
	packets  []byte   // that wait
	waiting  int      // their number
	answered time.Time
}

// outgoing is a datagram to send.
type outgoing struct {
	to      netip.AddrPort
	b       []byte
	packets int
}

// change is that this gateway begins to hear another one, or hears it no longer.
type change struct {
	name  string
	heard bool
}

// Stats are counts since the start, of packets, or of datagrams if the field has that word.
type Stats struct {
	Relayed  uint64 // to other gateways
	Received uint64 // from other gateways
	Limited  uint64 // not relayed, or not taken, since a limit was reached
	Dropped  uint64 // not relayed, since a queue was full or the system did not send
	Refused  uint64 // datagrams: not of a gateway, not authentic, malformed, or not of its current run
	Replayed uint64 // datagrams that were seen before, or are too old
}

// newNode returns the node of a gateway. The gateways include this one.
func newNode(own string, gateways map[string]netip.AddrPort, key Key, rate int, random io.Reader) (*node, error) {
	n := &node{random: random, key: key, byAddr: map[netip.AddrPort]int{}, own: -1}
	for name, addr := range gateways {
		n.peers = append(n.peers, peer{id: IDOf(name), name: name, addr: addr, limit: limit.NewRate(float64(rate)).WithBurst(float64(rate) / 2)})
	}
	slices.SortFunc(n.peers, func(a, b peer) int { return a.id.compare(b.id) })
	ids := make([]ID, len(n.peers))
	for i := range n.peers {
		p := &n.peers[i]
		ids[i] = p.id
		if p.name == own {
			n.own = i
		} else {
			n.byAddr[p.addr] = i
		}
	}
	var seed [8]byte
	if err := n.draw(n.run[:], seed[:]); err != nil {
		return nil, err
	}
	n.bounds, n.reserve = newBounds(rate, seed), newReserve(rate, seed)
	block, err := key.coordinators()
	if err != nil {
		return nil, err
	}
	n.chooser = newChooser(block, ids)
	for i := range n.peers {
		p := &n.peers[i]
		if err := n.draw(p.token[:]); err != nil {
			return nil, err
		}
		if p.out, err = key.datagrams(ids[n.own], p.id, n.run); err != nil {
			return nil, err
		}
	}
	n.room = MaxDatagram - headerSize - tagSize - bodyHeader - 8*(len(n.peers)-1)
	n.eligible = set(0).with(n.own)
	return n, nil
}

func (n *node) draw(all ...[]byte) error {
	for _, b := range all {
		if _, err := io.ReadFull(n.random, b); err != nil {
			return err
		}
	}
	return nil
}

// coordinates reports whether this gateway coordinates a source: if it should by the keys
// and the gateways that are alive, or if the source is not one to relay.
func (n *node) coordinates(a netip.Addr) bool { return n.coordinator(a) == n.own }

func (n *node) coordinator(a netip.Addr) int {
	if !relayable(a) {
		return n.own
	}
	return n.chooser.of(a, n.eligible)
}

// offer relays a packet that this gateway has received, unless it coordinates the source;
// then it returns true.
func (n *node) offer(p Packet, now time.Time) (coordinates bool) {
	i := n.coordinator(p.Source.Addr())
	if i == n.own {
		return true
	}
	s := sourceOf(p.Source.Addr())
	if p.Source.Port() == 0 || p.Port == 0 || !n.bounds.take(s, now) && !n.reserve.take(s, now) {
		n.stats.Limited++
		return false
	}
	to := &n.peers[i]
	if len(to.packets)+knownSize*len(to.announce)+maxPacket > n.room {
		n.send(i)
	}
	to.packets = p.append(to.packets)
	to.waiting++
	return false
}

// flush sends the packets that wait.
func (n *node) flush() {
	for i := range n.peers {
		if n.peers[i].waiting > 0 {
			n.send(i)
		}
	}
}

// beat sends a datagram to each gateway, and notices those that are silent.
func (n *node) beat(now time.Time) {
	n.view(now)
	for i := range n.peers {
		if i != n.own {
			n.send(i)
		}
	}
}

// send makes a datagram for a gateway, with the packets that wait for it.
func (n *node) send(i int) {
	p := &n.peers[i]
	p.counter++
	y := body{token: p.token, echo: p.echo, known: p.announce}
	hears := n.hears()
	for j := range n.peers {
		if hears.has(j) {
			y.hears = append(y.hears, n.peers[j].id)
		}
	}
	n.plain = append(y.append(n.plain[:0]), p.packets...)
	h := header{n.peers[n.own].id, n.run, p.counter}
	n.outgoing = append(n.outgoing, outgoing{p.addr, h.seal(nil, p.out, n.plain), p.waiting})
	p.packets, p.waiting, p.announce = p.packets[:0], 0, p.announce[:0]
}

// hears returns the gateways that this one hears, as of the last view.
func (n *node) hears() (s set) {
	for i := range n.peers {
		if i != n.own && !n.peers[i].heard.IsZero() {
			s = s.with(i)
		}
	}
	return s
}

// view decides which gateways may coordinate.
func (n *node) view(now time.Time) {
	for i := range n.peers {
		p := &n.peers[i]
		if !p.heard.IsZero() && now.Sub(p.heard) >= Silence {
			p.heard, p.reports = time.Time{}, 0
			n.changed = append(n.changed, change{p.name, false})
		}
	}
	hears := make([]set, len(n.peers))
	for i := range n.peers {
		hears[i] = n.peers[i].reports
	}
	hears[n.own] = n.hears()
	n.eligible = eligible(n.own, hears[n.own].with(n.own), hears)
	if n.eligible == 0 {
		n.eligible = set(0).with(n.own)
	}
}

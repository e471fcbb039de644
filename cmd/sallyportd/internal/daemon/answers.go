package daemon

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/udp"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
	"sallyport/verify/challenge/exchange"
)

// Limits of challenges over TCP.
const (
	// maxAnswers is how many challenges wait for their clients at a time: the filter of
	// the socket has room for as many addresses.
	maxAnswers = sockfilter.Max
	// answersOfAddress is how many of them may be of one address: a further one replaces
	// the oldest, as the table of exchanges does.
	answersOfAddress = 16
	// maxServed is how many connections are open at a time, of all addresses: an
	// attacker with many addresses must not use up the descriptors of the services.
	maxServed = 2 * maxAnswers
	// answerRead is how long a connection may last.
	answerRead = time.Second
	// closeDelay is how long the port may stay open after the time of a challenge.
	closeDelay = 250 * time.Millisecond
	// bindPause is the time between two checks that the port is bound.
	bindPause = time.Second
)

// Why a challenge is not handed over.
var (
	errTooManyAnswers = errors.New("too many challenges wait for their clients")
	errNoAnswerPort   = errors.New("the port of challenges is not bound")
)

// answers hands challenges to clients over TCP (transport = "tcp"): answer_port is open
// for an address while a challenge waits for it, and each connection from there gets
// the challenges of its address. The table of exchanges limits how many come in a
// second. Its methods may be called concurrently; run is called once.
//
//	put, of the table -> waiting -> run: changes -> apply: the enforcers open the port
//	a connection -> Serve -> message -> the client -> remove
type answers struct {
	listen    string
	tcp       *gate.TCP
	enforcers []access.Enforcer // the firewall if there is one, then tcp
	clock     clock.Clock
	log       *slog.Logger
	wake      chan struct{}

	mu      sync.Mutex
	bound   bool
	failed  bool                           // to bind the port, and it was logged
	waiting map[netip.Addr][]waitingAnswer // by the client's address; maxAnswers in all
	n       int                            // how many wait
	lastID  uint64
	added   map[netip.Addr]bool // addresses that are not open yet, or not for long enough
}

// waitingAnswer is a challenge that waits for its client.
type waitingAnswer struct {
	id      uint64    // no other one has it
	port    uint16    // the source port of the request's last packet
	until   time.Time // by clock.Boot
	size    int
	payload [exchange.MaxChallenge]byte
}

func newAnswers(cfg *config.Config, firewall access.Enforcer, env Env) *answers {
	a := &answers{
		listen: answerAddress(cfg), clock: env.Clock, log: env.Log, wake: make(chan struct{}, 1),
		waiting: map[netip.Addr][]waitingAnswer{}, added: map[netip.Addr]bool{},
	}
	a.tcp = gate.NewTCP(gate.TCPConfig{
		Listen: a.listen, Filtered: cfg.Challenge.Answers.Filtered, PrefixLen6: access.PrefixHost,
		PerAddress: 2 * answersOfAddress, Handler: a, Clock: env.Clock, Log: env.Log,
	})
	if firewall != nil {
		a.enforcers = append(a.enforcers, firewall)
	}
	a.enforcers = append(a.enforcers, a.tcp)
	return a
}

// answerAddress returns where the port of challenges listens: at the only address that
// receives packets, or at all.
func answerAddress(cfg *config.Config) string {
	host, port := "", strconv.Itoa(int(cfg.Challenge.Answers.Port))
	if on := udp.Addresses(cfg.Listen).OnHost(); len(on) == 1 && !on[0].IsUnspecified() {
		host = on[0].String()
	}
	return net.JoinHostPort(host, port)
}

// put keeps a challenge for its client, which sent the last packet of its request from
// source. It does not block.
func (a *answers) put(source netip.AddrPort, payload []byte) error {
	from := access.Numbered(source.Addr())
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.bound:
		return errNoAnswerPort
	case a.n >= maxAnswers:
		return errTooManyAnswers
	}
	a.lastID++
	w := waitingAnswer{id: a.lastID, port: source.Port(), until: a.clock.Boot().Add(config.AnswerTime), size: len(payload)}
	copy(w.payload[:], payload)
	all := a.waiting[from]
	if len(all) == answersOfAddress {
		all = append(all[:0], all[1:]...)
		a.n--
	}
	a.waiting[from], a.added[from] = append(all, w), true
	a.n++
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return nil
}

// changes returns the peers for which the port opens, and those for which it closes.
func (a *answers) changes(now time.Time) (all []access.Change) {
	id := access.ID(config.AnswersName)
	a.mu.Lock()
	defer a.mu.Unlock()
	for from := range a.added {
		delete(a.added, from)
		list := a.waiting[from]
		if until := list[len(list)-1].until; until.After(now) {
			all = append(all, access.Change{Service: id, Peer: access.PeerOf(from, access.PrefixHost), Until: until})
		}
	}
	for from, list := range a.waiting {
		if list[len(list)-1].until.After(now) {
			continue
		}
		a.n -= len(list)
		delete(a.waiting, from)
		all = append(all, access.Change{Service: id, Peer: access.PeerOf(from, access.PrefixHost)})
	}
	return all
}

// remove removes a challenge that its client has: another exchange of the address must
// not take it. The port stays open for its time, or until the next change.
func (a *answers) remove(remote netip.AddrPort, id uint64) {
	from := access.Numbered(remote.Addr())
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.waiting[from]
	i := slices.IndexFunc(list, func(w waitingAnswer) bool { return w.id == id })
	if i < 0 {
		return
	}
	list[i].size = 0 // it keeps its place, which opens the port, until its time is over
}

// message returns the challenges for a connection from an address, and their IDs; nil:
// none waits.
func (a *answers) message(remote netip.AddrPort) (message []byte, ids []uint64) {
	from := access.Numbered(remote.Addr())
	now := a.clock.Boot()
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.waiting[from]
	b := []byte{0}
	add := func(own bool) {
		for i := len(list) - 1; i >= 0; i-- { // the newest first
			if w := &list[i]; w.size > 0 && w.until.After(now) && (w.port == remote.Port()) == own {
				b = append(append(b, byte(w.size)), w.payload[:w.size]...)
				ids = append(ids, w.id)
			}
		}
	}
	add(true)
	add(false)
	if len(ids) == 0 {
		return nil, nil
	}
	b[0] = byte(len(ids))
	return b, ids
}

package carriers

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/verify/challenge/carrier"
)

// DNSConfig configures a DNS. Zone is required.
type DNSConfig struct {
	Zone     string        // as ParseZone reads it
	Servers  []string      // as ParseServer reads them; may be empty
	Resolver *net.Resolver // nil: that of the system
	Pause    time.Duration // how long a way may be silent before the next one begins, at most; 0: 2 s
}

// DNS carries messages in the names of queries.
type DNS struct {
	zone  string
	pause time.Duration
	ways  []resolver

	mu     sync.Mutex
	worked int // the way of the last challenge
}

// resolver is one that the system has, or a server of the zone.
type resolver struct {
	name   string
	lookup *net.Resolver
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// NewDNS makes a DNS. It sends nothing.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	zone, err := ParseZone(cfg.Zone)
	if err != nil {
		return nil, err
	}
	d := &DNS{zone: zone, pause: cmp.Or(cfg.Pause, wayPause)}
	var dialer net.Dialer
	own, dial := cfg.Resolver, dialFunc(dialer.DialContext)
	if own == nil {
		own = net.DefaultResolver
	} else if own.Dial != nil {
		dial = own.Dial
	}
	d.ways = []resolver{{"the resolver", own}}
	// Some networks answer in the server's place, or drop queries, by UDP only.
	overTCP := []resolver{{"the resolver, over TCP,", &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, at string) (net.Conn, error) {
		return dial(ctx, "tcp", at)
	}}}}
	for _, s := range cfg.Servers {
		host, port, err := ParseServer(s)
		if err != nil {
			return nil, err
		}
		to := net.JoinHostPort(host, strconv.Itoa(int(port)))
		// A resolver of this program that asks one server, by UDP, and by TCP if the answer
		// does not fit.
		d.ways = append(d.ways, resolver{s, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, to)
		}}})
		overTCP = append(overTCP, resolver{s + ", over TCP,", &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", to)
		}}})
	}
	d.ways = append(d.ways, overTCP...)
	return d, nil
}

// Request sends a request, and returns when a challenge was accepted. The error is a
// *Fault, or that of ctx.
func (d *DNS) Request(ctx context.Context, m *carrier.Message, accept Accept) error {
	ways := make([]way, len(d.ways))
	for i, w := range d.ways {
		ways[i] = func(ctx context.Context, offer Accept) error { return d.send(ctx, w, m, offer) }
	}
	won, err := race(ctx, d.pause, ways, accept)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.worked = won
	return nil
}

// Respond sends a response, by the way of the challenge, and by the others if that one
// fails. The answer to it has no meaning.
func (d *DNS) Respond(ctx context.Context, m *carrier.Message) error {
	d.mu.Lock()
	worked := d.worked
	d.mu.Unlock()
	var ways []way
	for i := range d.ways {
		w := d.ways[(worked+i)%len(d.ways)]
		ways = append(ways, func(ctx context.Context, _ Accept) error { return d.deliver(ctx, w, m) })
	}
	_, err := race(ctx, d.pause, ways, func([]byte) bool { return true })
	return err
}

// send sends the parts of a message by one way. One of the answers is the challenge.
func (d *DNS) send(ctx context.Context, w resolver, m *carrier.Message, offer Accept) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := d.queries(ctx, w, m, offer)
	all := make([]error, m.Labels())
	for i := range all {
		if all[i] = <-errs; all[i] == nil {
			return nil
		}
	}
	return most(ctx, all)
}

// deliver sends the parts of a message without a challenge by one way: each of them needs
// an answer, whatever that is.
func (d *DNS) deliver(ctx context.Context, w resolver, m *carrier.Message) error {
	errs := d.queries(ctx, w, m, func([]byte) bool { return true })
	var lost []error
	for range m.Labels() {
		err := <-errs
		var f *Fault
		if err != nil && (!errors.As(err, &f) || f.Cause != NoRecord && f.Cause != Rewritten) {
			lost = append(lost, err)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return most(ctx, lost)
}

// queries sends the parts of a message by one way, at the same time, in any order, and
// returns the result of each.
func (d *DNS) queries(ctx context.Context, w resolver, m *carrier.Message, offer Accept) <-chan error {
	errs := make(chan error, m.Labels())
	for i := range m.Labels() {
		go func() { errs <- d.query(ctx, w, m, i, offer) }()
	}
	return errs
}

// query sends part i of a message. It returns nil if the answer was accepted.
func (d *DNS) query(ctx context.Context, w resolver, m *carrier.Message, i int, offer Accept) error {
	name := string(m.AppendLabel(nil, i)) + "." + d.zone + "."
	texts, err := w.lookup.LookupTXT(ctx, name)
	if err != nil {
		return d.unanswered(ctx, w, err)
	}
	fault := &Fault{Cause: Rewritten, By: w.name}
	for _, text := range texts {
		challenge, reason := carrier.ParseText(nil, []byte(text))
		if reason != carrier.Accepted {
			continue
		}
		if offer(challenge) {
			return nil
		}
		fault.Cause = Forged
	}
	return fault
}

// unanswered returns the fault of a query without a text, or the error of ctx.
func (d *DNS) unanswered(ctx context.Context, w resolver, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var known *Fault
	var dns *net.DNSError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &dns) && dns.IsNotFound:
		return &Fault{Cause: NoRecord, By: w.name}
	case dns != nil && (dns.Err == "server misbehaving" || dns.Err == "lame referral"): // as package net reports an error of the server
		return &Fault{Cause: ResolverFails, By: w.name, Err: short(err, d.zone)}
	}
	return &Fault{Cause: NoResolver, By: w.name, Err: short(err, d.zone)}
}

// short returns the error of a query without its name, which is a message.
func short(err error, zone string) error {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return err
	}
	text := strings.TrimSpace(dns.Err)
	if dns.Server != "" {
		text += " (" + dns.Server + ")"
	}
	return errors.New("ask for a name in " + zone + ": " + text)
}

// Close does nothing: each query has its own socket.
func (d *DNS) Close() {}

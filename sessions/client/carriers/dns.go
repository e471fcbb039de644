package carriers

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/verify/challenge/carrier"
)

// resolverTime is how long the resolver of the system may take, if the client knows the
// zone's servers.
const resolverTime = 4 * time.Second

// DNSConfig configures a DNS. Zone is required.
type DNSConfig struct {
	Zone     string        // as ParseZone reads it
	Servers  []string      // as ParseServer reads them; may be empty
	Resolver *net.Resolver // nil: that of the system
}

// DNS carries messages in the names of queries.
type DNS struct {
	zone string
	ways []way

	mu     sync.Mutex
	worked int // the way of the last challenge
}

// way is a resolver, or a server of the zone.
type way struct {
	name   string
	lookup *net.Resolver
}

// NewDNS makes a DNS. It sends nothing.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	zone, err := ParseZone(cfg.Zone)
	if err != nil {
		return nil, err
	}
	d := &DNS{zone: zone, ways: []way{{"the resolver", cfg.Resolver}}}
	if cfg.Resolver == nil {
		d.ways[0].lookup = net.DefaultResolver
	}
	for _, s := range cfg.Servers {
		host, port, err := ParseServer(s)
		if err != nil {
			return nil, err
		}
		to := net.JoinHostPort(host, strconv.Itoa(int(port)))
		// A resolver of this program that asks one server, by UDP, and by TCP if the answer
		// does not fit.
		direct := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, to)
		}}
		d.ways = append(d.ways, way{s, direct})
	}
	return d, nil
}

// Request sends a request, and returns the challenge. The error is a *Fault, or that of
// ctx.
func (d *DNS) Request(ctx context.Context, m *carrier.Message) ([]byte, error) {
	var first error
	for i, w := range d.ways {
		challenge, err := d.request(ctx, w, m, i+1 < len(d.ways))
		if err == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.worked = i
			return challenge, nil
		}
		if ctx.Err() != nil {
			if first == nil {
				first = d.unanswered(ctx, w, err)
			}
			return nil, first
		}
		if first == nil || worse(first, err) {
			first = err
		}
	}
	return nil, first
}

// worse reports whether an error shows more than another one.
func worse(known, next error) bool {
	var a, b *Fault
	return errors.As(known, &a) && errors.As(next, &b) && a.Cause == NoResolver && b.Cause != NoResolver
}

// request sends the parts of a request by one way, at the same time, in any order.
func (d *DNS) request(ctx context.Context, w way, m *carrier.Message, more bool) ([]byte, error) {
	if more {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, resolverTime)
		defer cancel()
	}
	type answer struct {
		challenge []byte
		err       error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, m.Labels())
	for i := range m.Labels() {
		go func() {
			challenge, err := d.query(ctx, w, m, i)
			answers <- answer{challenge, err}
		}()
	}
	var last error
	for range m.Labels() {
		a := <-answers
		if a.err == nil {
			return a.challenge, nil
		}
		if last == nil || !worse(a.err, last) {
			last = a.err
		}
	}
	return nil, last
}

// query sends part i of a message, and returns the challenge.
func (d *DNS) query(ctx context.Context, w way, m *carrier.Message, i int) ([]byte, error) {
	name := string(m.AppendLabel(nil, i)) + "." + d.zone + "."
	texts, err := w.lookup.LookupTXT(ctx, name)
	if err != nil {
		return nil, d.unanswered(ctx, w, err)
	}
	if len(texts) == 1 {
		if challenge, reason := carrier.ParseText(nil, []byte(texts[0])); reason == carrier.Accepted {
			return challenge, nil
		}
	}
	return nil, &Fault{Cause: Rewritten, By: w.name}
}

// unanswered returns the fault of a query without a text, or the error of ctx.
func (d *DNS) unanswered(ctx context.Context, w way, err error) error {
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

// Respond sends a response, by the way of the challenge. The answer to it has no meaning.
func (d *DNS) Respond(ctx context.Context, m *carrier.Message) error {
	d.mu.Lock()
	w := d.ways[d.worked]
	d.mu.Unlock()
	_, err := d.request(ctx, w, m, false)
	var fault *Fault
	if errors.As(err, &fault) && (fault.Cause == NoRecord || fault.Cause == Rewritten) {
		return nil
	}
	return err
}

// Close does nothing: each query has its own socket.
func (d *DNS) Close() {}

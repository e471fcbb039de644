package profilefile

import (
	"net/netip"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/durations"
)

// The keys that describe how the server opens: they make a client faster, and do not
// change what it sends.

// minOpenFor and maxOpenFor are the limits of open_for in the server's configuration.
const (
	minOpenFor = time.Second
	maxOpenFor = 1000 * time.Hour
)

// addresses reads the key "addresses".
func (raw File) addresses(f Source) ([]netip.Addr, error) {
	all, err := client.ParseAddresses(raw.Server, raw.Addresses)
	if err != nil {
		return nil, f.Errorf("addresses", "%v", err)
	}
	return all, nil
}

// addressTexts is the reverse of addresses.
func addressTexts(all []netip.Addr) (texts []string) {
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return texts
}

// parseOpening reads the keys "open_for" and "handshake" of a table; at is the table's
// key followed by a dot.
func parseOpening(f Source, at, openFor, handshake, service string) (d time.Duration, h client.Handshake, err error) {
	if d, err = f.Duration(at+"open_for", openFor, 0); err != nil {
		return 0, "", err
	}
	if f.Has(at+"open_for") && (d < minOpenFor || d > maxOpenFor) {
		return 0, "", f.Errorf(at+"open_for", "got %q", openFor)
	}
	h = client.Handshake(handshake)
	s, err := client.ParseService(service)
	switch {
	case f.Has(at+"handshake") && h != client.HandshakeGranted:
		return 0, "", f.Errorf(at+"handshake", "got %q", handshake)
	case h == client.HandshakeGranted && (err != nil || s.UDP):
		return 0, "", f.Errorf(at+"handshake", "got %q without the key service, or with a UDP service", handshake)
	}
	return d, h, nil
}

// expiry reads the key "expires".
func (raw File) expiry(f Source) (at time.Time, err error) {
	if !f.Has("expires") {
		return at, nil
	}
	at, err = time.Parse(time.RFC3339, raw.Expires)
	if at = at.UTC().Truncate(time.Second); err != nil || at.IsZero() {
		return at, f.Errorf("expires", "got %q", raw.Expires)
	}
	return at, nil
}

// expiryText is the text of a time, which expiry reads; empty: there is none.
func expiryText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// openForText is the text of a duration, which parseOpening reads; empty: 0.
func openForText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return durations.Short(d)
}

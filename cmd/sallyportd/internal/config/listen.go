package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sallyport/sessions/client"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

const (
	// maxListen is how many entries "listen" of a service may have.
	maxListen = 16
	// listenSeparator is between the entries in Service.Listen.
	listenSeparator = ", "
)

// listenTexts returns the entries of "listen": a text, or a list of texts.
func listenTexts(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case []any:
		var texts []string
		for _, entry := range v {
			text, ok := entry.(string)
			if !ok {
				return nil, fmt.Errorf("got %v in the list", entry)
			}
			texts = append(texts, text)
		}
		if len(texts) == 0 {
			return nil, errors.New("got an empty list")
		}
		if len(texts) > maxListen {
			return nil, fmt.Errorf("got %d entries; at most %d are possible", len(texts), maxListen)
		}
		return texts, nil
	}
	return nil, fmt.Errorf("got %v", value)
}

// listenAt is an entry of "listen".
type listenAt struct {
	host  string // as it is written; empty: all addresses
	ports access.Ports
}

// parseListen parses host:port, :port, or a range of ports instead of the port. The
// port 0 is that of a service whose port rotates.
func parseListen(text string) (l listenAt, err error) {
	first, last, several := text, "", false
	if colon := strings.LastIndexByte(text, ':'); colon >= 0 {
		var low string
		if low, last, several = strings.Cut(text[colon+1:], "-"); several {
			first = text[:colon+1] + low
		}
	}
	drawn := strings.HasSuffix(first, ":0") && !several
	if drawn {
		first = strings.TrimSuffix(first, "0") + "1" // another port, to parse the host
	}
	host, port, err := client.SplitService(first)
	if err != nil {
		return l, fmt.Errorf("got %q", text)
	}
	if drawn {
		port = 0
	}
	l = listenAt{host, access.Ports{First: port, Last: port}}
	if several {
		n, err := strconv.ParseUint(last, 10, 16)
		if err != nil || n < uint64(port) {
			return l, fmt.Errorf("got %q, which is not a range of ports such as \":60000-61000\"", text)
		}
		l.ports.Last = uint16(n)
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && whyNotBindable(a) != "":
		return l, fmt.Errorf("got %q, with %s", text, whyNotBindable(a))
	case err != nil && host != "":
		return l, fmt.Errorf("got %q", text)
	}
	return l, nil
}

// String returns the entry in its shortest form.
func (l listenAt) String() string {
	return net.JoinHostPort(l.host, l.ports.String())
}

// address returns the address of this host; zero: all.
func (l listenAt) address() netip.Addr {
	a, _ := netip.ParseAddr(l.host) // no host: zero
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

// listens returns the entries of a service, which were checked before; nil: it has no
// port.
func (s *Service) listens() []listenAt {
	if !s.HasPort() {
		return nil
	}
	var all []listenAt
	for text := range strings.SplitSeq(s.Listen, listenSeparator) {
		l, _ := parseListen(text)
		all = append(all, l)
	}
	return all
}

// At returns all ports of the service, with the addresses at which clients reach
// them.
func (s *Service) At() []firewall.At {
	var all []firewall.At
	for _, l := range s.listens() {
		all = append(all, firewall.At{Address: l.address(), Ports: l.ports})
	}
	return all
}

// Ports returns the ranges of the service's own ports; none, if the server listens at
// drawn ports.
func (s *Service) Ports() []access.Ports {
	var all []access.Ports
	for _, l := range s.listens() {
		if l.ports.IsValid() {
			all = append(all, l.ports)
		}
	}
	return all
}

// Several reports whether the service has more than one port.
func (s *Service) Several() bool {
	all := s.Ports()
	return len(all) > 1 || len(all) == 1 && all[0].Len() > 1
}

// ProfileService returns the service as a profile names it: the first port that is not
// in a range, because nothing may listen on most ports of a range; empty: there is
// none. A client cannot observe whether a UDP service is open. A service that requires
// initial sequence numbers has a port in any case: without one, a profile cannot have
// the key "bind", and its client does not get in.
func (s *Service) ProfileService() string {
	if s.Rotates() {
		return client.Service{Rotates: true, UDP: s.UDP}.String()
	}
	for _, p := range s.Ports() {
		if p.Len() == 1 {
			return client.Service{Port: p.First, UDP: s.UDP}.String()
		}
	}
	if s.RequireISN {
		return client.Service{Port: s.Ports()[0].First}.String()
	}
	return ""
}

// overlaps returns the entries of both services that include the same port of one
// address; empty: there are none.
func (s *Service) overlaps(other *Service) (own, theirs string) {
	if s.UDP != other.UDP {
		return "", ""
	}
	for _, a := range s.listens() {
		for _, b := range other.listens() {
			if a.ports.IsValid() && (firewall.At{Address: a.address(), Ports: a.ports}).Overlaps(firewall.At{Address: b.address(), Ports: b.ports}) {
				return a.String(), b.String()
			}
		}
	}
	return "", ""
}

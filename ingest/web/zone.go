package web

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxZone is the number of characters of the longest zone: a label of 63 characters
// and a dot stand before it, and a name has 253.
const maxZone = 253 - 63 - 1

// Times of the zone's records, in seconds. The zone never changes.
const (
	recordTTL  = 3600
	refresh    = 7200
	retry      = 3600
	expire     = 1209600
	minimumTTL = 300 // of negative answers (RFC 2308)
	serial     = 1
)

// Zone is a DNS zone without names below it.
type Zone struct {
	Name    string   // "k.example.com", in ASCII
	Servers []string // the names of its servers, outside of the zone: "ns.example.com"
	// Hostmaster is the mailbox of the SOA record, as a name; "" is hostmaster at the
	// zone.
	Hostmaster string
}

// zone is a Zone as the responder uses it.
type zone struct {
	name    string // in lower case, with the final dot
	soa     dnsmessage.SOAResource
	servers []dnsmessage.NSResource
}

// Validate returns an error if a server cannot answer for the zone.
func (z Zone) Validate() error {
	_, err := z.parse()
	return err
}

func (z Zone) parse() (zone, error) {
	name, err := parseName(z.Name)
	switch {
	case err != nil:
		return zone{}, fmt.Errorf("zone: %w", err)
	case len(z.Name) > maxZone:
		return zone{}, fmt.Errorf("zone: expected a name of at most %d characters, got %d characters", maxZone, len(z.Name))
	case len(z.Servers) == 0:
		return zone{}, errors.New("servers of the zone: expected the name of at least one")
	}
	parsed := zone{name: strings.ToLower(name.String())}
	hostmaster := z.Hostmaster
	if hostmaster == "" {
		hostmaster = "hostmaster." + z.Name
	}
	mailbox, err := parseName(hostmaster)
	if err != nil {
		return zone{}, fmt.Errorf("hostmaster of the zone: %w", err)
	}
	for _, s := range z.Servers {
		server, err := parseName(s)
		if err != nil {
			return zone{}, fmt.Errorf("server of the zone: %w", err)
		}
		if last := s[strings.LastIndexByte(s, '.')+1:]; strings.Trim(last, "0123456789") == "" {
			return zone{}, fmt.Errorf("server of the zone: expected a name, as NS records have, got the address %s", s)
		}
		if _, in := parsed.cut([]byte(server.String())); in {
			return zone{}, fmt.Errorf("server of the zone: expected a name outside of %s, got %s", z.Name, s)
		}
		parsed.servers = append(parsed.servers, dnsmessage.NSResource{NS: server})
	}
	parsed.soa = dnsmessage.SOAResource{
		NS: parsed.servers[0].NS, MBox: mailbox, Serial: serial,
		Refresh: refresh, Retry: retry, Expire: expire, MinTTL: minimumTTL,
	}
	return parsed, nil
}

// parseName parses a host name, without its final dot.
func parseName(name string) (dnsmessage.Name, error) {
	if name == "" || len(name) > 253 {
		return dnsmessage.Name{}, fmt.Errorf("expected a name of 1 to 253 characters, got %q", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		valid := len(label) >= 1 && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for _, c := range []byte(label) {
			valid = valid && (c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_')
		}
		if !valid {
			return dnsmessage.Name{}, fmt.Errorf("expected labels of letters, digits, - and _, got %q", name)
		}
	}
	return dnsmessage.NewName(name + ".")
}

// cut returns the labels of a name before the zone, without the last dot, and reports
// whether the name is the zone or below it. The name has a final dot.
func (z *zone) cut(name []byte) (labels []byte, in bool) {
	at := len(name) - len(z.name)
	if at < 0 {
		return nil, false
	}
	for i, c := range name[at:] {
		if lower(c) != z.name[i] {
			return nil, false
		}
	}
	if at == 0 {
		return nil, true
	}
	return name[:at-1], name[at-1] == '.'
}

// lower returns an ASCII letter in lower case.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

package trial

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// Subject is a service that can be on trial, or Stealth.
type Subject struct {
	Name string // for people
	ID   access.ServiceID
	// Keys are those of the service's ports in a Record: a service with another name and
	// the same port is the same one.
	Keys []string
}

// StealthSubject is Stealth as a Subject.
func StealthSubject() Subject {
	return Subject{Stealth, firewall.StealthTrial, []string{Stealth}}
}

// SubjectOf returns a service with ports of another program as a Subject.
func SubjectOf(name string, p firewall.Port) Subject {
	s := Subject{Name: name, ID: p.Service}
	for _, at := range p.All() {
		s.Keys = append(s.Keys, key{p.Protocol.String(), at.Address, at.Ports}.String())
	}
	return s
}

// key is a port, or a range of ports, with an address, if the service has one. In a Record:
// "tcp 22", "udp 1000-1010", "tcp 192.0.2.1 22".
type key struct {
	protocol string
	address  netip.Addr
	ports    access.Ports
}

func (k key) String() string {
	text := strconv.Itoa(int(k.ports.First))
	if k.ports.Last > k.ports.First {
		text += fmt.Sprintf("-%d", k.ports.Last)
	}
	if k.address.IsValid() {
		text = k.address.String() + " " + text
	}
	return k.protocol + " " + text
}

// parseKey is the inverse of String. It returns false for other texts, such as the name of
// a service, by which the first version of the file identified it.
func parseKey(text string) (k key, ok bool) {
	words := strings.Split(text, " ")
	if len(words) < 2 || len(words) > 3 {
		return k, false
	}
	k.protocol = words[0]
	if len(words) == 3 {
		a, err := netip.ParseAddr(words[1])
		if err != nil {
			return k, false
		}
		k.address = a
	}
	first, last, ranged := strings.Cut(words[len(words)-1], "-")
	if !ranged {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil {
		return k, false
	}
	k.ports = access.Ports{First: uint16(from), Last: uint16(to)}
	return k, k.String() == text
}

// covers reports whether k has all ports of another key, at all of its addresses.
func (k key) covers(other key) bool {
	return k.protocol == other.protocol && (!k.address.IsValid() || k.address == other.address) &&
		k.ports.First <= other.ports.First && other.ports.Last <= k.ports.Last
}

// overlaps reports whether k has a port of another key.
func (k key) overlaps(other key) bool {
	return k.protocol == other.protocol && (!k.address.IsValid() || !other.address.IsValid() || k.address == other.address) &&
		k.ports.Overlaps(other.ports)
}

// confirmed reports whether the record has all ports of a service as confirmed, or a part.
func (r Record) confirmed(s Subject) (all, part bool) {
	if r[s.Name].State == Confirmed {
		return true, true
	}
	all = true
	for _, text := range s.Keys {
		whole, some := r[text].State == Confirmed, r[text].State == Confirmed
		of, ok := parseKey(text)
		for name, e := range r {
			if known, parsed := parseKey(name); ok && parsed && e.State == Confirmed {
				whole, some = whole || known.covers(of), some || known.overlaps(of)
			}
		}
		all, part = all && whole, part || some
	}
	return all, part
}

// onTrial returns the entry of a service that is, or was, on trial: of several ports, the
// last one to end.
func (r Record) onTrial(s Subject) (e Entry, ok bool) {
	for _, text := range append(slices.Clone(s.Keys), s.Name) {
		if of := r[text]; of.State == OnTrial && (!ok || of.Ends > e.Ends) {
			e, ok = of, true
		}
	}
	return e, ok
}

// set gives all ports of a service an entry.
func (r Record) set(s Subject, e Entry) {
	delete(r, s.Name)
	for _, text := range s.Keys {
		r[text] = e
	}
}

// Unconfirmed reports whether the record has a service that is on trial, or was and is
// not confirmed.
func (r Record) Unconfirmed(s Subject) bool {
	_, part := r.confirmed(s)
	_, ok := r.onTrial(s)
	return ok && !part
}

// Confirmed reports whether the record has all ports of a service as confirmed.
func (r Record) Confirmed(s Subject) bool {
	all, _ := r.confirmed(s)
	return all && len(s.Keys) > 0
}

// Left returns the time that the trial of an unconfirmed service has left; 0: it is over.
func (r Record) Left(s Subject, now Moment) time.Duration {
	e, _ := r.onTrial(s)
	return e.Left(now)
}

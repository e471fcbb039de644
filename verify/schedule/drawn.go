package schedule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Candidates is how many ports a minute has for a service whose port rotates. The
// server uses the first one that is free on its host.
const Candidates = 4

// Range is a range of ports, from the first to the last.
type Range struct{ First, Last uint16 }

// Has reports whether a port is in the range.
func (r Range) Has(port uint16) bool { return r.First <= port && port <= r.Last }

// String returns "80", or "60000-61000".
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParseRange parses what String returns. The first port is at least 1, and not above
// the last.
func ParseRange(s string) (Range, error) {
	first, last, several := strings.Cut(s, "-")
	if !several {
		last = first
	}
	low, errLow := strconv.ParseUint(first, 10, 16)
	high, errHigh := strconv.ParseUint(last, 10, 16)
	if errLow != nil || errHigh != nil || low == 0 || high < low {
		return Range{}, fmt.Errorf("expected a port, or a range of ports such as 10000-32767, got %q", s)
	}
	return Range{uint16(low), uint16(high)}, nil
}

// Drawn is the range of ports from which the ports of a service are drawn, if its
// port rotates. PROTOCOL.md is the specification.
type Drawn struct {
	Range
	// Except are never drawn. They may overlap, and lie outside of the range.
	Except []Range
}

// Has reports whether the port can be drawn.
func (d Drawn) Has(port uint16) bool { return d.Range.Has(port) && !d.excepts(port) }

func (d Drawn) excepts(port uint16) bool {
	return slices.ContainsFunc(d.Except, func(r Range) bool { return r.Has(port) })
}

// Ranges returns the ports that can be drawn, as disjoint ranges in ascending order.
func (d Drawn) Ranges() (all []Range) {
	sorted := slices.SortedFunc(slices.Values(d.Except), func(a, b Range) int { return int(a.First) - int(b.First) })
	next := int(d.First) // the first port that is neither in a range nor excepted yet
	for _, r := range sorted {
		if last := min(int(r.First)-1, int(d.Last)); next <= last {
			all = append(all, Range{uint16(next), uint16(last)})
		}
		next = max(next, int(r.Last)+1)
	}
	if next <= int(d.Last) {
		all = append(all, Range{uint16(next), d.Last})
	}
	return all
}

// Free returns how many ports can be drawn.
func (d Drawn) Free() (n int) {
	for _, r := range d.Ranges() {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Validate returns an error if Ports cannot draw Candidates ports.
func (d Drawn) Validate() error {
	if d.First < MinPort || d.First > d.Last {
		return fmt.Errorf("expected a range of ports from %d to %d, got %s", MinPort, MaxPort, d.Range)
	}
	if free := d.Free(); free < Candidates {
		return fmt.Errorf("expected at least %d ports in the range %s without its exceptions, got %d", Candidates, d.Range, free)
	}
	return nil
}

// WithoutKnocks returns the range without the ports of knocks that are open while
// sequences of a minute are accepted: those of the minute, and of the minutes beside
// it. A client cannot observe which of its candidates a UDP service uses, so both sides
// leave out the ports that the server certainly uses itself. n is the number of knocks.
func (d Drawn) WithoutKnocks(g Generator, portSecret string, m Minute, n int) (Drawn, error) {
	d.Except = slices.Clone(d.Except)
	for near := m - 1; near <= m+1; near++ {
		ports, err := Ports(g, portSecret, near, n)
		if err != nil {
			return d, err
		}
		for _, p := range ports {
			d.Except = append(d.Except, Range{p, p})
		}
	}
	return d, nil
}

// drawnLabel separates the draw from all other uses of a port secret.
const drawnLabel = "sallyport: port of a service"

// Ports draws the candidates for a service and a minute, in the order in which the
// server tries them. All ports of the range without its exceptions are equally
// likely, and none occurs twice. It returns an error if Validate does, or the port
// secret is empty.
func (d Drawn) Ports(portSecret, service string, m Minute) (ports [Candidates]uint16, err error) {
	if err := d.Validate(); err != nil {
		return ports, fmt.Errorf("draw the port of service %s: %w", service, err)
	}
	if portSecret == "" {
		return ports, fmt.Errorf("draw the port of service %s: %w", service, errNoSecret)
	}
	message := make([]byte, 0, len(drawnLabel)+12+len(service))
	message = append(message, drawnLabel...)
	message = binary.BigEndian.AppendUint64(message, uint64(m))
	block := len(message)
	message = binary.BigEndian.AppendUint32(message, 0)
	message = append(message, service...)
	size := uint64(d.Last-d.First) + 1
	limit := (1 << 32) / size * size // words from here on would make some ports likelier
	mac := hmac.New(sha256.New, []byte(portSecret))
	sum := make([]byte, 0, sha256.Size)
	for n, i := 0, uint32(0); ; i++ {
		binary.BigEndian.PutUint32(message[block:], i)
		mac.Reset()
		mac.Write(message)
		sum = mac.Sum(sum[:0])
		for words := sum; len(words) > 0; words = words[4:] {
			word := uint64(binary.BigEndian.Uint32(words))
			port := d.First + uint16(word%size)
			if word >= limit || d.excepts(port) || slices.Contains(ports[:n], port) {
				continue
			}
			ports[n] = port
			if n++; n == Candidates {
				return ports, nil
			}
		}
	}
}

var errNoSecret = errors.New("there is no port secret")

// SecretName distinguishes port secrets within a process. The zero value names none.
// It is derived from the secret, and must not leave the process.
type SecretName uint32

// NameOf returns the name of a port secret. It is not zero.
func NameOf(portSecret string) SecretName {
	mac := hmac.New(sha256.New, []byte(portSecret))
	mac.Write([]byte("sallyport: name of a port secret"))
	return max(SecretName(binary.BigEndian.Uint32(mac.Sum(nil))), 1)
}

package holder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Shield is the program at the network driver, which the holder has loaded for a server.
type Shield interface {
	// Attach attaches the program, once no other Shield is attached.
	Attach() error
	// Arrays returns the arrays that the server maps. They stay the Shield's.
	Arrays() []ShieldArray
	// State may be called concurrently with the other methods.
	State() ShieldState
	// Close detaches the program, if it is attached.
	Close() error
}

// ShieldArray is memory that the program shares with the server. The server can map
// it by its descriptor, which neither attaches nor detaches a program.
type ShieldArray struct {
	Name string
	File *os.File
}

// ShieldRequest is what a server asks of a shield.
type ShieldRequest struct {
	Listen  []netip.Addr // the addresses at which it receives, as package udp reads a list
	Clients uint32       // for how many there must be room
}

// ShieldState is where a shield is attached.
type ShieldState struct {
	Interfaces []ShieldInterface `json:"interfaces"`
}

// ShieldInterface is an interface of a shield.
type ShieldInterface struct {
	Name string `json:"name"`
	// Mode is "native" or "generic"; empty: the program is not attached.
	Mode string `json:"mode,omitempty"`
	// Error is why it is not attached.
	Error string `json:"error,omitempty"`
}

const (
	shieldHead  = 4  // clients, before the addresses of 16 bytes each
	maxShieldAt = 64 // addresses
	// maxStated is the number of interfaces in a reply.
	maxStated = 64
)

func appendShield(b []byte, r ShieldRequest) ([]byte, error) {
	if len(r.Listen) > maxShieldAt {
		return b, fmt.Errorf("expected at most %d addresses, got %d", maxShieldAt, len(r.Listen))
	}
	b = binary.BigEndian.AppendUint32(append(b, byte(kindShield)), r.Clients)
	for _, a := range r.Listen {
		at := a.WithZone("").As16()
		b = append(b, at[:]...)
	}
	return b, nil
}

func parseShield(b []byte) (r ShieldRequest, err error) {
	if len(b) < shieldHead || (len(b)-shieldHead)%16 != 0 || (len(b)-shieldHead)/16 > maxShieldAt {
		return r, fmt.Errorf("a request for the shield cannot have %d bytes", len(b))
	}
	r.Clients = binary.BigEndian.Uint32(b)
	for b = b[shieldHead:]; len(b) > 0; b = b[16:] {
		a := netip.AddrFrom16([16]byte(b)).Unmap()
		if a.IsMulticast() {
			return r, fmt.Errorf("expected an address of this host, got %s", a)
		}
		r.Listen = append(r.Listen, a)
	}
	return r, nil
}

var errNoShield = errors.New("no shield was requested")

// shielding is the shield of a session. Loading takes longer than the server waits for
// a reply, and grants must not wait for it.
type shielding struct {
	loading <-chan loaded // nil: it is loaded, or was not requested
	current Shield        // nil: none
	granted []*os.File    // to send with the next reply
}

// loaded is the result of a request: another shield, or an error and the former shield,
// unless it is detached.
type loaded struct {
	shield Shield
	err    error
}

// beginShield begins to load the shield, which replaces the current one. That one stays
// attached until the next one is loaded: memory can be too short for it.
func (s *session) beginShield(r ShieldRequest) []byte {
	switch err := s.Policy.checkShield(r); {
	case err != nil:
		return refusal(err)
	case s.Config.Shield == nil:
		return refusal(errors.New("this holder was started without the shield"))
	case s.shield.loading != nil:
		return refusal(errors.New("the shield is being loaded"))
	}
	load, done := s.Config.Shield, make(chan loaded, 1)
	former := s.shield.current
	s.shield.current, s.shield.loading = nil, done
	go func() {
		next, err := load(r)
		if err != nil {
			done <- loaded{former, err}
			return
		}
		if err = detach(former); err == nil {
			err = next.Attach()
		}
		if err != nil {
			done <- loaded{nil, errors.Join(err, detach(next))}
			return
		}
		done <- loaded{next, nil}
	}()
	return results(nil)
}

// shieldReply passes the arrays of the shield that was requested, once.
func (s *session) shieldReply() []byte {
	if s.shield.loading == nil {
		return refusal(errNoShield)
	}
	select {
	case l := <-s.shield.loading:
		s.shield.loading, s.shield.current = nil, l.shield
		if l.err != nil {
			return s.failure(l.err)
		}
		b := []byte{byte(answerShield)}
		for i, a := range l.shield.Arrays() {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, a.Name...)
			s.shield.granted = append(s.shield.granted, a.File)
		}
		return b
	default:
		return []byte{byte(answerPending)}
	}
}

func (s *session) shieldState() []byte {
	if s.shield.current == nil {
		return refusal(errNoShield)
	}
	return stateReply(s.shield.current.State())
}

// stateReply leaves out what does not fit into a reply.
func stateReply(state ShieldState) []byte {
	var fits ShieldState
	for _, at := range state.Interfaces[:min(len(state.Interfaces), maxStated)] {
		at.Error = strings.ToValidUTF8(at.Error[:min(len(at.Error), maxReason)], "")
		fits.Interfaces = append(fits.Interfaces, at)
	}
	for {
		text, err := json.Marshal(fits)
		if err != nil {
			return refusal(err)
		}
		if len(text) < maxReply {
			return append([]byte{byte(answerShieldState)}, text...)
		}
		fits.Interfaces = fits.Interfaces[:len(fits.Interfaces)-1]
	}
}

// close detaches the shield.
func (s *shielding) close() error {
	if s.loading != nil {
		l := <-s.loading
		s.loading, s.current = nil, l.shield
	}
	err := detach(s.current)
	s.current = nil
	return err
}

// detach closes a shield. A driver may need seconds.
func detach(s Shield) error {
	if s == nil {
		return nil
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("detach the shield: %w", err)
	}
	return nil
}

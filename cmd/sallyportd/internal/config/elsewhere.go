package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/cmd/internal/tomlfile"
)

// elsewhere is the kind of a service that only other servers of the fleet have. Here, it has
// no port and no program. It keeps its name, its rights and its times, so that the clients'
// file may name it, and that grants of this server open it at the others.
type elsewhere struct {
	commandsOnly
	of *Service
}

func (elsewhere) describe(*Service) string { return "at other gateways only" }

// elsewhere makes a service one of other servers, if its key gateways names these and not
// this server.
func (r *raw) elsewhere(f *tomlfile.File, at string, names []string, s *Service) error {
	if len(names) == 0 {
		return nil
	}
	if !f.Has("fleet") || !s.Shared {
		return f.Errorf(at+"gateways", "got them without [fleet], or without spread = \"all\"")
	}
	for i, name := range names {
		if !slices.ContainsFunc(r.Fleet.Gateways, func(g string) bool { return strings.HasPrefix(g, name+"=") }) {
			return f.Errorf(at+"gateways", "got %q (entry %d)", name, i+1)
		}
	}
	s.Gateways = names
	if slices.Contains(names, r.Fleet.Name) {
		return nil
	}
	of := *s
	s.kind = elsewhere{of: &of}
	s.Listen, s.programs, s.rotation, s.RequireISN, s.Proves, s.Filtered = "", nil, nil, false, false, false
	return nil
}

// Elsewhere reports whether only other servers of the fleet have the service.
func (s *Service) Elsewhere() bool {
	_, is := s.kind.(elsewhere)
	return is
}

// Original returns the service as it is at the servers that have it.
func (s *Service) Original() *Service {
	if e, is := s.kind.(elsewhere); is {
		return e.of
	}
	return s
}

// CarriedBy reports whether a server of the fleet has the service.
func (s *Service) CarriedBy(gateway string) bool {
	return len(s.Gateways) == 0 || slices.Contains(s.Gateways, gateway)
}

// checkRandom refuses an operation with a random port for a service that not all servers have.
func (s *Service) checkRandom(f *tomlfile.File, at string, o *Operation) error {
	if !o.RandomPort || len(s.Gateways) == 0 {
		return nil
	}
	return f.Errorf(at+"port", "got \"random\" for service %s, which has gateways = %s", s.Name, fmt.Sprintf("%q", s.Gateways))
}

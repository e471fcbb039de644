package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Restrict reads the clients file, which the administrator has changed, and removes
// rights of a client even if it rejects the file: a fault elsewhere in the file
// must not prevent a revocation. A faulty file does not give these rights back.
func (s *Server) Restrict(ctx context.Context, r admin.Restriction) (done admin.Restricted, err error) {
	id, err := secrets.ParseIdentifier(r.Client)
	if err != nil {
		return done, err
	}
	services, err := s.servicesOf(r.Services)
	if err != nil {
		return done, err
	}
	if s.list != nil && r.Named {
		return s.restrictUnlisted(ctx, id, services)
	}
	if s.list != nil {
		return s.restrictListed(ctx, id, services, r.Services)
	}
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	defer func() { done.Owed = s.owed() }()
	why := cause{noticed: true}
	if len(services) == 0 {
		why.revoked = id
	}
	if r.Named { // reading the file may wait for etcd, and gives rights back
		if err := s.narrow(ctx, map[wire.Identifier][]access.ServiceID{id: services}, gate.Revoked); err != nil {
			return done, err
		}
	}
	applied, err := s.change(ctx, why, "clients", s.readClients)
	done.Clients = applied.Clients
	var stopping *admin.StoppingError
	if errors.As(err, &stopping) {
		return done, err
	}
	if err != nil {
		done.Refused = err.Error()
		s.reloads.missing.drop(id) // its leases end now
		if err := s.narrow(ctx, map[wire.Identifier][]access.ServiceID{id: services}, gate.Revoked); err != nil {
			return done, err
		}
		done.Clients = s.reloads.clients
		s.env.Log.Warn("rights reduced despite a rejected clients file", "client", id, "services", strings.Join(r.Services, ","))
		done.Less = len(services) > 0 && len(s.gate.Names(id)) < len(services)
		return done, nil
	}
	if _, still := s.reloads.table.Secrets(id); still && len(services) == 0 {
		if r.Named {
			s.env.Log.Warn("client revoked until the next read of the clients file", "client", id,
				"hint", "remove the client from the clients file")
			return done, s.narrow(ctx, map[wire.Identifier][]access.ServiceID{id: nil}, gate.Revoked)
		}
		return done, fmt.Errorf("%s still names client %s", s.reloads.current.ClientsPath, id)
	}
	s.logRestricted(id, r.Services)
	return done, nil
}

// logRestricted logs what a restriction took from a client; no services: everything.
func (s *Server) logRestricted(id wire.Identifier, services []string) {
	if len(services) == 0 {
		s.env.Log.Info("client revoked", "client", id)
		return
	}
	s.env.Log.Info("rights reduced", "client", id, "services", strings.Join(services, ","))
}

// servicesOf returns the services of a restriction.
func (s *Server) servicesOf(names []string) (services []access.ServiceID, err error) {
	s.reloads.mu.Lock()
	known := s.reloads.current.ServiceNames()
	s.reloads.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("service %q is not configured", name)
		}
		services = append(services, access.ID(name))
	}
	return services, nil
}

// owed reports whether connections that the kernel forwards may continue.
func (s *Server) owed() bool { return s.firewall != nil && (!s.holder.Held() || s.firewall.Owes()) }

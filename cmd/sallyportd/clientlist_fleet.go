package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// etcdList is the list of a fleet. Each call connects to etcd by itself.
type etcdList struct {
	cfg *config.Config
	env cli.Env
}

// open does not wait for etcd.
func (f etcdList) open() (*fleetlist.List, error) {
	if f.cfg.Fleet == nil { // of config.Locate
		return nil, cli.WithHint(errors.New("the configuration is not valid, so this command does not know the fleet's etcd"),
			"correct the configuration, or run the command at another gateway")
	}
	if err := cmp.Or(f.cfg.ReadEtcdPassword(), f.cfg.ReadClientsKey()); err != nil {
		return nil, cli.Misuse(err)
	}
	list, err := fleetlist.Open(f.cfg, f.env.Now, slog.New(slog.DiscardHandler))
	return list, cli.Misuse(err)
}

// with calls do with the open list. The word names for people the purpose.
func (f etcdList) with(purpose string, do func(*fleetlist.List) error) error {
	list, err := f.open()
	if err != nil {
		return err
	}
	defer list.Close()
	return explainList(purpose, f.cfg, do(list))
}

func (f etcdList) read(ctx context.Context, known []string) (list clients.List, err error) {
	err = f.with("read", func(l *fleetlist.List) error {
		lines, _, err := l.Read(ctx)
		if list = clients.Of(lines); err == nil {
			err = cli.Misuse(checkAllServices(list, known))
		}
		return err
	})
	return list, err
}

// checkAllServices returns an error if a client may open services that are not in known,
// unless known is nil.
func checkAllServices(list clients.List, known []string) error {
	if known == nil {
		return nil
	}
	for _, c := range list {
		if err := c.CheckServices(known); err != nil {
			return cli.WithHint(fmt.Errorf("client %s: %w", c.Identifier, err), c.HowToFix())
		}
	}
	return nil
}

func (f etcdList) edit(ctx context.Context, ids []wire.Identifier, change func([]clients.Line) ([]clients.Line, error)) error {
	return f.with("change", func(l *fleetlist.List) error { return l.Edit(ctx, ids, change) })
}

func (f etcdList) remove(ctx context.Context, id wire.Identifier) (found bool, err error) {
	err = f.with("change", func(l *fleetlist.List) error {
		found, err = l.Remove(ctx, id)
		return err
	})
	return found, err
}

func (f etcdList) apply(ctx context.Context) func(admin.Conn) error {
	return func(c admin.Conn) error { return applied(c.AwaitList(ctx)) }
}

// applied returns an error if a server has another list in force than etcd.
func applied(s admin.ListStatus, err error) error {
	if s.File {
		s.Refused, s.Hint = "the server still has its clients from a file", "restart the server, which then reads the fleet's list"
	}
	if err == nil && s.Refused != "" {
		return &notAppliedError{s}
	}
	return err
}

// notAppliedError is the error of a list that the server has not applied.
type notAppliedError struct{ status admin.ListStatus }

func (e *notAppliedError) Error() string { return e.status.Refused }

// Hint returns what to do, according to the server.
func (e *notAppliedError) Hint() string { return e.status.Hint }

// explainList adds the purpose to an error of the list, and a hint.
func explainList(purpose string, cfg *config.Config, err error) error {
	var unavailable *cluster.UnavailableError
	var key *roster.KeyError
	switch {
	case errors.As(err, &key):
		return cli.Misuse(err)
	case !errors.As(err, &unavailable):
		return err // it has its own hint
	}
	err = fmt.Errorf("%s the fleet's list of clients: %w", purpose, err)
	switch {
	case cluster.IsDenied(unavailable):
		return cli.WithHint(err, "run the command at a host whose user of etcd may "+purpose+" the keys below clients/, or grant the user that; the guide has the commands")
	case purpose == "read":
		return cli.WithHint(err, "\"sallyportd check\" shows which members of etcd answer; "+cfg.ClientsPath+" has the list that this gateway knows")
	}
	return cli.WithHint(err, "etcd may have made the change nevertheless: \"sallyportd client list\" shows it when a majority of its members answers")
}

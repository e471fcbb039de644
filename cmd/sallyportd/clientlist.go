package main

import (
	"context"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/wire"
)

// clientList is where a configuration has its clients: in a clients file, or with
// clients = "fleet" in the list of the fleet in etcd. Commands read and change both
// through it.
type clientList interface {
	// read returns all clients. Their services must be in known, unless known is nil.
	read(ctx context.Context, known []string) (clients.List, error)
	// edit changes clients: change gets at least the lines of those in ids that exist, and
	// returns them changed. It may be called again.
	edit(ctx context.Context, ids []wire.Identifier, change func([]clients.Line) ([]clients.Line, error)) error
	// remove removes a client, and reports whether there was one.
	remove(ctx context.Context, id wire.Identifier) (found bool, err error)
	// apply is the request that makes the server apply the list, and waits.
	apply(ctx context.Context) func(admin.Conn) error
}

// clientsOf returns the list of a configuration.
func clientsOf(cfg *config.Config, env cli.Env) clientList {
	if cfg.FleetClients {
		return etcdList{cfg, env}
	}
	return clientsFile{cfg}
}

// clientsFile is a clients file.
type clientsFile struct{ cfg *config.Config }

func (f clientsFile) read(_ context.Context, known []string) (clients.List, error) {
	list, err := clients.Load(f.cfg.ClientsPath, f.cfg.SecretFiles, known)
	return list, cli.Misuse(f.cfg.ExplainClients(err))
}

func (f clientsFile) edit(ctx context.Context, _ []wire.Identifier, change func([]clients.Line) ([]clients.Line, error)) error {
	return clients.Edit(ctx, f.cfg.ClientsPath, change)
}

func (f clientsFile) remove(ctx context.Context, id wire.Identifier) (bool, error) {
	return clients.Remove(ctx, f.cfg.ClientsPath, id)
}

func (f clientsFile) apply(ctx context.Context) func(admin.Conn) error {
	return func(c admin.Conn) error {
		_, err := c.ReloadClients(ctx)
		return err
	}
}

package main

import (
	"context"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// newProver returns what proves the connections to a service of a profile; nil: the
// service asks for no proof.
func newProver(ctx context.Context, env cli.Env, p client.Profile, bind client.Bind, service string) (*client.ConnProver, error) {
	if bind != client.BindConnection {
		return nil, nil
	}
	if !p.HasSequence() {
		return client.NewConnProver(p, service, client.NonceFile{}, env.Now) // an error: there is no secret
	}
	nonces, err := profile.Nonces(ctx, p)
	if err != nil {
		return nil, err
	}
	return client.NewConnProver(p, service, nonces, env.Now)
}

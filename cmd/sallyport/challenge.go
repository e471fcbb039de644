package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
)

// The values of --protocol.
const (
	protocolSequence  = "sequence"
	protocolChallenge = "challenge"
)

// usesChallenge reports whether the client uses the challenge–response protocol.
func (o *knockOptions) usesChallenge(p client.Profile) (bool, error) {
	switch {
	case o.protocol != "" && o.protocol != protocolSequence && o.protocol != protocolChallenge:
		return false, fmt.Errorf("--protocol: expected %q or %q, got %q",
			protocolSequence, protocolChallenge, o.protocol)
	case o.protocol == protocolChallenge && p.Challenge == nil:
		return false, cli.WithHint(errors.New("--protocol challenge: the profile has no [challenge]"),
			"ask the server's administrator for such a profile (\"sallyportd operation profile ID\")")
	case o.protocol == protocolSequence && !p.HasSequence():
		return false, cli.WithHint(errors.New("--protocol sequence: the profile has only [challenge]"),
			"omit --protocol, or ask the server's administrator for a client's profile")
	}
	return o.protocol == protocolChallenge || !p.HasSequence(), nil
}

// exchange knocks by the challenge–response protocol.
func (o *knockOptions) exchange(
	ctx context.Context, env cli.Env, p client.Profile, keep bool, report func(client.Event),
) (client.Result, error) {
	cfg := client.ExchangeConfig{
		Server: p.Server, Addresses: p.Addresses, Challenge: *p.Challenge, Service: o.service, Attempts: o.attempts, Timeout: o.timeout,
		Family: o.family(), Keep: keep, Watch: o.watchOf(p), CheckBefore: o.checkBefore, Random: rand.Reader, Report: report,
	}
	if cfg.Challenge.Service == "" {
		cfg.Challenge.Service, cfg.Challenge.Bind, cfg.Challenge.ServiceName = fixedService(p.Service), p.Bind, p.ServiceName
		if cfg.Challenge.Service != "" {
			cfg.Challenge.Handshake = p.Handshake
		}
	}
	if keep { // otherwise the client makes no connection that the service gets
		var err error
		if cfg.Prover, err = newProver(ctx, env, p, cfg.Challenge.Bind, cfg.Challenge.ServiceName); err != nil {
			return client.Result{}, cli.Misuse(err)
		}
	}
	result, err := client.Exchange(ctx, cfg)
	if isn := (*client.ISNError)(nil); errors.As(err, &isn) {
		err = cli.Misuse(err) // nothing was sent
	}
	return result, err
}

// fixedService returns a service; nothing, if its port rotates: an exchange has no minute
// that draws one.
func fixedService(service string) string {
	if s, err := client.ParseService(service); err == nil && s.Rotates {
		return ""
	}
	return service
}

// watchOf returns how to watch: by the flags, or else by the profile.
func (o *knockOptions) watchOf(p client.Profile) client.Watch {
	if o.noWatch {
		return client.WatchNone
	}
	return cmp.Or(client.Watch(o.watch), p.Watch)
}

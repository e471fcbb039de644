package main

import (
	"cmp"
	"context"
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
	case o.byWeb() && o.protocol == protocolSequence:
		return false, fmt.Errorf("expected --protocol sequence or --carrier %s, got both: a sequence is packets", o.carrier)
	case o.byWeb() && p.Challenge == nil:
		return false, cli.WithHint(fmt.Errorf("--carrier %s: the profile has no [challenge]", o.carrier),
			"ask the server's administrator for a profile with https or dns (\"sallyportd operation profile ID\")")
	}
	return o.protocol == protocolChallenge || o.byWeb() || !p.HasSequence(), nil
}

// exchange knocks by the challenge–response protocol.
func (o *knockOptions) exchange(
	ctx context.Context, env cli.Env, p client.Profile, keep bool, report func(client.Event),
) (client.Result, error) {
	cfg, err := o.exchangeConfig(ctx, env, p, keep, report)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	cfg.Service, cfg.Keep, cfg.CheckBefore = o.service, keep, o.checkBefore
	result, err := client.Exchange(ctx, cfg)
	return result, misuseOfExchange(err)
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

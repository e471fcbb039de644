package main

import (
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

// second reports whether the second protocol is to be spoken.
func (o *knockOptions) second(p client.Profile) (bool, error) {
	switch {
	case o.protocol != "" && o.protocol != protocolSequence && o.protocol != protocolChallenge:
		return false, fmt.Errorf("--protocol: expected %q or %q, got %q", protocolSequence, protocolChallenge, o.protocol)
	case o.protocol == protocolChallenge && p.Challenge == nil:
		return false, cli.WithHint(errors.New("the profile has no [challenge]"), "the server's administrator makes one: sallyportd operation profile ID")
	case o.protocol == protocolSequence && !p.HasSequence():
		return false, cli.WithHint(errors.New("the profile has nothing but [challenge]"), "leave --protocol out, or ask the server's administrator for a profile of a client")
	}
	return o.protocol == protocolChallenge || !p.HasSequence(), nil
}

// exchange knocks by the second protocol.
func (o *knockOptions) exchange(ctx context.Context, env cli.Env, p client.Profile, keep bool) (client.Result, error) {
	cfg := client.ExchangeConfig{
		Server: p.Server, Challenge: *p.Challenge, Attempts: o.attempts, Timeout: o.timeout, Keep: keep, Random: rand.Reader,
		Report: func(e client.Event) { o.report(env, e) },
	}
	if cfg.Challenge.Service == "" {
		cfg.Challenge.Service = p.Service
	}
	switch {
	case o.ipv4:
		cfg.Family = client.IPv4
	case o.ipv6:
		cfg.Family = client.IPv6
	}
	return client.Exchange(ctx, cfg)
}

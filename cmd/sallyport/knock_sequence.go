package main

import (
	"context"
	"errors"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// sequenceConfig returns the configuration of sequences. Prove is as in exchangeConfig.
func (o *knockOptions) sequenceConfig(
	ctx context.Context, env cli.Env, p client.Profile, prove bool, report func(client.Event),
) (cfg client.Config, err error) {
	nonces, err := profile.Nonces(ctx, p)
	if err != nil {
		return cfg, err
	}
	other, err := o.elseExchange(ctx, env, p, prove)
	if err != nil {
		return cfg, err
	}
	return client.Config{
		Else: other, Profile: p, Nonces: nonces, Attempts: o.attempts, Timeout: o.timeout, Family: o.family(),
		NoWait: o.noWait, Watch: o.watchOf(p), Now: env.Now, Report: report,
	}, nil
}

// sequence knocks by the sequence protocol.
func (o *knockOptions) sequence(
	ctx context.Context, env cli.Env, p client.Profile, keep bool, report func(client.Event),
) (client.Result, error) {
	cfg, err := o.sequenceConfig(ctx, env, p, keep, report)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	cfg.Service, cfg.Keep, cfg.CheckBefore = o.service, keep, o.checkBefore
	result, err := client.Knock(ctx, cfg)
	var isn *client.ISNError
	if errors.As(err, &isn) {
		err = cli.Misuse(err)
	}
	return result, misuseOfNonces(err)
}

// misuseOfNonces marks errors of the nonce file as misuse: nothing was sent.
func misuseOfNonces(err error) error {
	var exhausted *client.ExhaustedError
	var damaged *client.DamagedError
	var nonce *client.NonceError
	if errors.As(err, &exhausted) || errors.As(err, &damaged) || errors.As(err, &nonce) {
		return cli.Misuse(err)
	}
	return err
}

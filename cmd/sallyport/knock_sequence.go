package main

import (
	"context"
	"errors"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// sequence knocks by the sequence protocol.
func (o *knockOptions) sequence(
	ctx context.Context, env cli.Env, p client.Profile, keep bool, report func(client.Event),
) (client.Result, error) {
	nonces, err := profile.Nonces(ctx, p)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	other, err := o.elseExchange(ctx, env, p, keep)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	result, err := client.Knock(ctx, client.Config{
		Else: other, Profile: p, Service: o.service, Nonces: nonces, Attempts: o.attempts, Timeout: o.timeout, Family: o.family(),
		NoWait: o.noWait, Keep: keep, Watch: o.watchOf(p), CheckBefore: o.checkBefore, Now: env.Now, Report: report,
	})
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

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/tunnel"
)

// carrierAuto is the value of --carrier that is the default.
const carrierAuto = "auto"

// carrierOf returns the carrier of the flags.
func (o *knockOptions) carrierOf() client.Carrier {
	if o.carrier == carrierAuto {
		return client.CarrierAuto
	}
	return client.Carrier(o.carrier)
}

// checkCarrier returns an error if --carrier has an invalid value.
func (o *knockOptions) checkCarrier() error {
	if by := o.carrierOf(); !by.Valid() {
		return cli.Misuse(fmt.Errorf("--carrier: expected \"auto\", \"udp\", \"https\" or \"dns\", got %q", o.carrier))
	}
	return nil
}

// byWeb reports whether --carrier names one that only the challenge–response protocol has.
func (o *knockOptions) byWeb() bool {
	by := o.carrierOf()
	return by == client.CarrierHTTPS || by == client.CarrierDNS
}

// exchangeConfig returns the configuration of an exchange. Without prove, the client makes
// no connection that the service gets.
func (o *knockOptions) exchangeConfig(
	ctx context.Context, env cli.Env, p client.Profile, prove bool, report func(client.Event),
) (client.ExchangeConfig, error) {
	cfg := client.ExchangeConfig{
		Server: p.Server, Addresses: p.Addresses, Challenge: *p.Challenge, Attempts: o.attempts, Timeout: o.timeout,
		Family: o.family(), Watch: o.watchOf(p), Carrier: o.carrierOf(), Probe: o.probe, Random: rand.Reader, Now: env.Now, Report: report,
	}
	if p.Spreads() {
		cfg.Gateways = p.Gateways
	}
	if !o.direct {
		cfg.Tunnel = tunnel.Dialer{}
	}
	if of := &cfg.Challenge; of.Service == "" {
		of.Service, of.Bind, of.ServiceName = fixedService(p.Service), p.Bind, p.ServiceName
		if of.Service != "" {
			of.Handshake = p.Handshake
		}
	}
	cfg.Remembered, _ = profile.Carriers() // without the file, the client forgets
	err := cfg.CheckCarrier(prove)
	if err == nil && prove {
		cfg.Prover, err = newProver(ctx, env, p, cfg.Challenge.Bind, cfg.Challenge.ServiceName)
	}
	return cfg, err
}

// elseExchange returns the exchange for a network that drops the knocks; nil: the profile
// has neither HTTPS nor DNS that can open the service, or the flags exclude them.
func (o *knockOptions) elseExchange(ctx context.Context, env cli.Env, p client.Profile, prove bool) (*client.ExchangeConfig, error) {
	if p.Challenge == nil || p.Challenge.HTTPS == "" && p.Challenge.DNS == "" || o.carrierOf() != client.CarrierAuto || o.protocol != "" {
		return nil, nil
	}
	cfg, err := o.exchangeConfig(ctx, env, p, prove, nil)
	var unsuitable *client.CarrierError // for this service; the knocks can still open it
	if cfg.Challenge.Bind == client.BindISN || errors.As(err, &unsuitable) {
		return nil, nil
	}
	return &cfg, err
}

// adviseTunnel adds to an error that a tunnel may help, which --fdpass excludes.
func (o *knockOptions) adviseTunnel(p client.Profile, err error) error {
	var offline *client.OfflineError
	if !o.direct || p.Challenge == nil || !p.Challenge.Tunnel || !errors.As(err, &offline) {
		return err
	}
	return cli.WithHint(err, "with --fdpass, connections do not go through the web server: omit --fdpass and ProxyUseFdpass")
}

// misuseOfExchange marks errors before anything was sent.
func misuseOfExchange(err error) error {
	isn, carrier, signing := (*client.ISNError)(nil), (*client.CarrierError)(nil), (*client.SigningError)(nil)
	if errors.As(err, &isn) || errors.As(err, &carrier) || errors.As(err, &signing) && signing.Unsent() {
		return cli.Misuse(err)
	}
	return err
}

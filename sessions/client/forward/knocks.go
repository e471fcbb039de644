package forward

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"

	"sallyport/sessions/client"
)

// refusedTime is how long a service that has refused connections before the knock is
// watched after it.
const refusedTime = time.Second

// Sequence returns a Knock of Config that knocks by the sequence protocol. It sets
// Service, Keep, Watch and Attempts of each call itself, as far as the call requires it.
func Sequence(cfg client.Config) func(context.Context, Request) (Opened, error) {
	return func(ctx context.Context, r Request) (Opened, error) {
		cfg := cfg
		cfg.Service, cfg.Keep = r.Service, r.Keep
		if r.Keep {
			cfg.Watch = client.WatchConnection
		}
		if r.Refused {
			// The knocks arrive: no other program holds their ports, so the next minute's
			// would not help.
			cfg.NoWait = true
			cfg.Timeout = min(cmp.Or(cfg.Timeout, client.DefaultTimeout), refusedTime)
		}
		service, udp := udpService(cfg.Profile, r.Service)
		if udp && canConfirm(cfg.Profile) {
			if o, err := confirmed(ctx, cfg, service.Port); err == nil || !isOffline(err) {
				return o, err
			}
		}
		result, err := client.Knock(ctx, cfg)
		return opened(result), err
	}
}

// confirmed knocks for a UDP service, which cannot be watched, and watches the TCP
// service of the profile instead: the same knock opens it. An exchange by another carrier
// opens only its own service, and confirms nothing.
func confirmed(ctx context.Context, cfg client.Config, port uint16) (Opened, error) {
	cfg.Service, cfg.Keep, cfg.Attempts, cfg.Else = "", false, 1, nil
	result, err := client.Knock(ctx, cfg)
	if err != nil {
		return Opened{}, err
	}
	return Opened{Server: result.Address, Service: netip.AddrPortFrom(result.Address, port)}, nil
}

// canConfirm reports whether the profile has a TCP service that shows whether a knock
// has opened something.
func canConfirm(p client.Profile) bool {
	s, err := client.ParseService(p.Service)
	return err == nil && !s.UDP && !s.Rotates && p.Bind == client.BindAddress && p.Watch != client.WatchNone
}

// udpService returns a service of a Request, if it is a UDP service at a fixed port of
// the server.
func udpService(p client.Profile, service string) (s client.Service, ok bool) {
	s, err := client.ParseService(service)
	return s, err == nil && s.UDP && !s.Rotates && (s.Host == "" || s.Host == p.Server)
}

func isOffline(err error) bool {
	var offline *client.OfflineError
	return errors.As(err, &offline)
}

// Challenge returns a Knock of Config that uses the challenge–response protocol. It sets
// Service, Keep and Watch of each call.
func Challenge(cfg client.ExchangeConfig) func(context.Context, Request) (Opened, error) {
	return func(ctx context.Context, r Request) (Opened, error) {
		cfg := cfg
		cfg.Service, cfg.Keep = r.Service, r.Keep
		if r.Keep {
			cfg.Watch = client.WatchConnection
		}
		result, err := client.Exchange(ctx, cfg)
		return opened(result), err
	}
}

func opened(r client.Result) Opened {
	if r.Tunnel != nil { // it has opened nothing for other connections
		return Opened{Conn: r.Tunnel}
	}
	o := Opened{Server: r.Address, Service: r.Service}
	if r.Conn != nil {
		o.Conn = r.Conn
	}
	return o
}

package client

import "context"

// Close sends sequences that close all that the client has open at the server, at
// whatever address: its leases end, and its connections by the policy of each service.
// The server does not reply, and refuses the sequences without a word if the client has
// nothing open, so Close learns only whether ICMP errors contradict. It makes as many
// attempts as Knock without a service to watch: after the first one that arrives, the
// others do nothing. Of the configuration, Close ignores Service, Watch, CheckBefore,
// Keep and Timeout. Its errors are those of Knock.
func Close(ctx context.Context, cfg Config) (Result, error) {
	cfg.Service, cfg.Watch, cfg.Keep, cfg.closes = "", WatchNone, false, true
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	if err := cfg.Profile.expired(cfg.Now()); err != nil {
		return Result{}, err
	}
	k, err := newKnocking(ctx, cfg, cfg.Profile)
	if err != nil {
		return Result{}, err
	}
	// These attempts open nothing in any case, so they do not count as failed ones.
	k.begun = 1
	return k.sendOnly(ctx)
}

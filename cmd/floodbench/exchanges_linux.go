package main

import (
	"context"
	"time"

	"sallyport/bench/exchanges"
)

func exchangesTrial() trial[exchanges.Result] {
	return trial[exchanges.Result]{
		name:  "exchanges",
		short: "Flood the challenge–response protocol with empty packets",
		long: `Two hundred honest clients make one exchange each, without a retry, while the
server receives random empty packets, or whole requests, from random addresses.
Fails if the server grants access to fewer than 95 % of them, or if its memory
grows.`,
		run: func(
			ctx context.Context, server string, window time.Duration, progress func(int, int, string),
		) ([]exchanges.Result, error) {
			return exchanges.Run(ctx, exchanges.Config{Server: server, Window: window, Progress: progress})
		},
		write: exchanges.WriteText,
	}
}

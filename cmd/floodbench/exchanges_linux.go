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
		long: `Two hundred honest clients do an exchange each, once and without a second
attempt, while the server takes random empty packets, or whole requests, from
everywhere. Fails if they are not let in, or if the server's memory grows.`,
		run: func(ctx context.Context, server string, window time.Duration, progress func(int, int, string)) ([]exchanges.Result, error) {
			return exchanges.Run(ctx, exchanges.Config{Server: server, Window: window, Progress: progress})
		},
		write: exchanges.WriteText,
	}
}

package main

import (
	"context"
	"time"

	"sallyport/bench/insider"
)

func insiderTrial() trial[insider.Result] {
	return trial[insider.Result]{
		name:  "insider",
		short: "Flood the server with valid sequences of one client",
		long: `Two hundred honest clients make one attempt each, without a retry, while a
client with rights to one service completes 10,000 sequences a second from 200
addresses: first with a web service alone, then with firewall services. Fails if
the server does not grant access to all honest clients, or if the log grows.`,
		run: func(
			ctx context.Context, server string, window time.Duration, progress func(int, int, string),
		) ([]insider.Result, error) {
			return insider.Run(ctx, insider.Config{Server: server, Window: window, Progress: progress})
		},
		write: insider.WriteText,
	}
}

package main

import (
	"context"
	"time"

	"sallyport/bench/insider"
)

func insiderTrial() trial[insider.Result] {
	return trial[insider.Result]{
		name:  "insider",
		short: "Attack the server with a client's own secret",
		long: `Two hundred honest clients make an attempt each, once and without a second one,
while a client with rights to one service completes 10,000 sequences a second
from 200 addresses: with a web service alone, and with firewall services. Fails
if they are not all let in, or if the log grows.`,
		run: func(ctx context.Context, server string, window time.Duration, progress func(int, int, string)) ([]insider.Result, error) {
			return insider.Run(ctx, insider.Config{Server: server, Window: window, Progress: progress})
		},
		write: insider.WriteText,
	}
}

package main

import (
	"context"
	"time"

	"sallyport/bench/carriers"
)

func carriersTrial() trial[carriers.Result] {
	return trial[carriers.Result]{
		name:  "carriers",
		short: "Flood the listeners for exchanges over HTTP and DNS",
		long: `Two hundred honest clients make one exchange each over HTTP or DNS, without a
retry, a hundred visitors load the site, and fifty clients knock by UDP, while the
same listeners receive 20,000 HTTP requests or 100,000 DNS queries a second. Fails if
fewer than 99 % of each succeed within a second, or if memory grows.`,
		run: func(
			ctx context.Context, server string, window time.Duration, progress func(int, int, string),
		) ([]carriers.Result, error) {
			return carriers.Run(ctx, carriers.Config{Server: server, Window: window, Progress: progress})
		},
		write: carriers.WriteText,
	}
}

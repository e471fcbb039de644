package main

import (
	"context"
	"time"

	"sallyport/bench/looks"
)

func looksTrial() trial[looks.Result] {
	return trial[looks.Result]{
		name:  "looks",
		short: "Compare hidden ports with a closed one, as a stranger sees them",
		long: `A stranger sends probes to a port of each look, to a live knock port, and to a
closed port: without a server, and before, during and after another client's lease,
over IPv4 and IPv6, by a server without stealth and one with it.
The table has the quantiles of the times of the answers in microseconds, and the
largest differences (KS) of their distributions. Further lines have the packets
that answered replays of captured knocks at full rate, how many ICMP errors a
second the kernel sends, and scans for the live knock port: from many addresses, and
off the path, by forged addresses and the kernel's limit of ICMP errors. Their times
for all ports are computed from samples. Fails if an answer has other header bits
than that of a closed port, if a silent port or a replay is answered, or if a scan
distinguishes ports with stealth; not by times.`,
		usage: "how long each phase takes",
		run: func(
			ctx context.Context, server string, window time.Duration, progress func(int, int, string),
		) ([]looks.Result, error) {
			return looks.Run(ctx, looks.Config{Server: server, Window: window, Progress: progress})
		},
		write: looks.WriteText,
	}
}

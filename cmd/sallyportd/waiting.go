package main

import (
	"context"
	"strings"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/program"
)

// checkWaiting warns about services that the running server keeps closed even for
// clients with a lease, and about closing commands that fail. If the server does not
// answer, nothing is known.
func checkWaiting(ctx context.Context, cfg *config.Config) (found []finding) {
	server := admin.Conn{Socket: cfg.AdminSocket}
	waiting, err := server.Waiting(ctx)
	if err != nil {
		return nil
	}
	for i := range cfg.Services {
		name := cfg.Services[i].Name
		if why := waiting[name]; why != "" {
			todo := "the server tries again, and opens the service for the leases then in force"
			if strings.Contains(why, program.ErrLost.Error()) {
				todo = "restart the server: it cannot start such a process again"
			}
			found = append(found, warn("service-waits", todo,
				"the running server keeps service %s closed, even for clients with a lease: %s", name, why))
		}
	}
	for _, l := range cfg.CarrierListeners() {
		if why := waiting[l.Name()]; why != "" {
			delete(waiting, l.Name()) // the UDP and the TCP socket have one name
			found = append(found, warn("carrier-waits", "the server tries again every second",
				"the running server receives no exchange by %s: %s", l.Name(), why))
		}
	}
	found = append(found, checkFailing(ctx, server)...)
	return append(found, checkTooFar(ctx, server)...)
}

// checkTooFar warns about the clients whose knocks the shield of the running server
// refuses.
func checkTooFar(ctx context.Context, server admin.Conn) (found []finding) {
	all, err := server.TooFar(ctx)
	if err != nil {
		return nil
	}
	shown := all[:min(len(all), maxTooFar)]
	for _, c := range shown {
		found = append(found, warn("nonces-too-far-ahead", "if it does not get in: sallyportd client resync "+c.Client,
			"client %s: the shield has refused datagrams (%d so far), because their nonces are too far ahead: "+
				"its device has lost its nonces, or an attacker guesses them", c.Client, c.Refused))
	}
	if more := len(all) - len(shown); more > 0 {
		found = append(found, warn("nonces-too-far-ahead", "", "the shield has refused datagrams of %s more for the same reason", count(more, "client")))
	}
	return found
}

// maxTooFar is how many clients that the shield refuses get a warning each.
const maxTooFar = 5

// checkFailing warns about the closing commands that the running server repeats.
func checkFailing(ctx context.Context, server admin.Conn) (found []finding) {
	failing, err := server.Failing(ctx)
	if err != nil {
		return nil
	}
	shown := failing.Commands[:min(len(failing.Commands), maxFailing)]
	for _, c := range shown {
		of := "an operation without a client"
		if c.Client != "" {
			of = "client " + c.Client
		}
		found = append(found, warn("closing-command-fails", "the server repeats it until it succeeds; the log has the output of the command",
			"service %s: on_close has failed for the lease of %s and %s, which has ended (attempts: %d): %s", c.Service, of, c.Peer, c.Attempts, c.Error))
	}
	if more := failing.All - len(shown); more > 0 && len(shown) > 0 {
		found = append(found, warn("closing-command-fails", "", "on_close has failed for %s more", count(more, "lease")))
	}
	return found
}

// maxFailing is how many closing commands get a warning each.
const maxFailing = 5

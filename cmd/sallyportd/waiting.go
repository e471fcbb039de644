package main

import (
	"context"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// checkWaiting warns about services whose ports the running server cannot bind. If
// the server does not answer, nothing is known.
func checkWaiting(ctx context.Context, cfg *config.Config) (found []finding) {
	waiting, err := admin.Conn{Socket: cfg.AdminSocket}.Waiting(ctx)
	if err != nil {
		return nil
	}
	for i := range cfg.Services {
		name := cfg.Services[i].Name
		if why := waiting[name]; why != "" {
			found = append(found, warn("service-waits", "the server tries again, and opens the service for the leases then in force",
				"service %s is closed, because the running server cannot bind its port: %s", name, why))
		}
	}
	return found
}

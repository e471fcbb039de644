package main

import (
	"fmt"
	"net/netip"
	"slices"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

// addWords adds the conditions that words without a flag name: services, clients,
// operations and addresses. Two conditions of one kind would select no lease, so they
// are errors, and so is a word that can mean several things.
func addWords(which *admin.Which, words []string, cfg *config.Config) error {
	for _, word := range words {
		if peer, err := parsePeer(word); err == nil && word != "" {
			if which.Peer != (netip.Prefix{}) {
				return twice("address", "addresses", word)
			}
			which.Peer = peer
			continue
		}
		if cfg.Services == nil {
			return cli.WithHint(fmt.Errorf("cannot look up %q: the configuration is not valid", word), "use --service, --client or --operation")
		}
		if err := addName(which, word, cfg); err != nil {
			return err
		}
	}
	return nil
}

// addName adds the condition that a name of the configuration or of the clients file means.
func addName(which *admin.Which, word string, cfg *config.Config) error {
	kinds := []struct {
		one, several string
		is           bool
		condition    *string
	}{
		{"service", "services", cfg.Service(word) != nil, &which.Service},
		{"client", "clients", isClient(cfg, word), &which.Client},
		{"operation", "operations", slices.ContainsFunc(cfg.Operations, func(o config.Operation) bool { return o.ID == word }), &which.Operation},
	}
	found := -1
	for i, k := range kinds {
		switch {
		case !k.is:
		case found >= 0:
			return cli.WithHint(fmt.Errorf("%q is a %s and a %s", word, kinds[found].one, k.one), fmt.Sprintf("use --%s or --%s", kinds[found].one, k.one))
		default:
			found = i
		}
	}
	if found < 0 {
		return cli.WithHint(fmt.Errorf("there is no service, client, operation or address %q; no lease matches", word),
			"sallyportd lease list -c "+quoted(cfg.Path))
	}
	k := kinds[found]
	if *k.condition != "" {
		return twice(k.one, k.several, word)
	}
	*k.condition = word
	return nil
}

func twice(one, several, word string) error {
	return fmt.Errorf("expected at most one %s, got %q as well: no lease has two %s", one, word, several)
}

// isClient reports whether the clients file names a client. If it cannot be read, none is
// known.
func isClient(cfg *config.Config, word string) bool {
	list, err := clients.Load(cfg.ClientsPath, cfg.SecretFiles, nil)
	return err == nil && slices.ContainsFunc(list, func(c clients.Client) bool { return c.Identifier.String() == word })
}

package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/durations"
	"sallyport/verify/wire"
)

// whenForms are the forms of a time at which a client expires.
const whenForms = `a date, such as 2026-12-31; a date and a time with its zone, such as
2026-12-31T18:00:00+01:00; or a duration from now, such as 30d or 12h. A date is its
first moment in UTC: with 2026-12-31, the client is refused on that day`

func clientExpireCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "expire IDENTIFIER WHEN|now|never",
		Short: "Set when a client expires; from then on it is refused",
		Long: `Set when a client expires. From then on the server refuses it, and ends its leases
and connections. The client stays in the clients file.

WHEN is ` + whenForms + `.
"now" refuses the client at once, and "never" removes the time.

The command waits until the running server, if there is one, has applied the
change. If the server refuses it, the exit code is 1, and the error is the reason.
To cut off a client whatever is wrong with the clients file, use "client revoke".`,
		Example: "  sallyportd client expire k7Qx 2026-12-31\n  sallyportd client expire k7Qx never",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, _, client, err := loadClient(c.Context(), env, path, args[0], config.Alone)
			if err != nil {
				return err
			}
			before := client.Expires
			if client.Expires, err = newExpiry(args[1], env.Now()); err != nil {
				return cli.Misuse(err)
			}
			list := clientsOf(cfg, env)
			err = list.edit(c.Context(), []wire.Identifier{client.Identifier}, func(lines []clients.Line) ([]clients.Line, error) {
				i, err := clients.Find(lines, client.Identifier)
				if err == nil {
					lines[i].Client.Expires = client.Expires
				}
				return lines, err
			})
			if err != nil {
				return err
			}
			result := clientResult{Identifier: client.Identifier.String(), Changed: true, Expires: expiryOf(client)}
			// The device does not knock after the time that its profile has.
			result.ProfileOutdated = !before.IsZero() && (client.Expires.IsZero() || client.Expires.After(before))
			change := "does not expire"
			if !client.Expires.IsZero() {
				change = "expires at " + env.Time(client.Expires)
			}
			if client.Expired(env.Now()) {
				change = "has expired"
			}
			change = fmt.Sprintf("client %s %s", client.Identifier, change)
			running, err := applyChange(c.Context(), cfg, change, list.apply(c.Context()))
			if asJSON {
				result.setServer(running, err)
				return errors.Join(env.Out().JSON(result), err)
			}
			if err != nil {
				return err
			}
			err = env.Out().Printf("C%s.\n%s\n", change[1:], serverLine(cfg, running))
			if err == nil && result.ProfileOutdated {
				err = env.Err().Warning("the client's profile is outdated: if it has the earlier time, the device does not knock after it",
					withConfig(fmt.Sprintf("give the client its new profile: sallyportd client profile %s", client.Identifier), cfg.Path))
			}
			return err
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// expiryOf returns when a client expires; nil: it does not.
func expiryOf(c clients.Client) *time.Time {
	if c.Expires.IsZero() {
		return nil
	}
	return utc(c.Expires)
}

// newExpiry parses the time of "client expire"; zero: never.
func newExpiry(text string, now time.Time) (time.Time, error) {
	switch text {
	case "never":
		return time.Time{}, nil
	case "now":
		return now.UTC().Truncate(time.Second), nil
	}
	return parseExpiry(text, now)
}

// parseExpiry parses a time after now at which a client expires, in whole seconds.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	if d, durationErr := durations.Parse(text); err != nil && durationErr == nil {
		if d > math.MaxUint32*time.Second { // so that the sum is a time
			d = math.MaxUint32 * time.Second
		}
		at, err = now.Add(d), nil
	}
	switch at = at.UTC().Truncate(time.Second); {
	case err != nil:
		return at, fmt.Errorf("expected %s; got %q", strings.ReplaceAll(whenForms, "\n", " "), text)
	case !at.After(now):
		return at, fmt.Errorf("expected a future time, got %s", at.Format(time.RFC3339))
	case at.Unix() > math.MaxUint32:
		return at, fmt.Errorf("expected a time before %s, after which there are no knocks, got %s",
			time.Unix(math.MaxUint32, 0).UTC().Format(time.DateOnly), at.Format(time.RFC3339))
	}
	return at, nil
}

// checkExpiry warns of clients that expire within a week, or have expired: by one
// finding of each kind, which names the first clients.
func checkExpiry(list clients.List, env cli.Env) (found []finding) {
	now := env.Now()
	var soon, over []string
	for _, c := range list {
		text := fmt.Sprintf("%s at %s", c.Identifier, env.Time(c.Expires))
		switch {
		case c.Expired(now):
			over = append(over, text)
		case c.Expired(now.Add(clients.ExpiryWarning)):
			soon = append(soon, text)
		}
	}
	if len(soon) > 0 {
		found = append(found, warn("client-expires", "to extend: sallyportd client expire IDENTIFIER WHEN",
			"%s expire%s within a week: %s", count(len(soon), "client"), map[bool]string{true: "s"}[len(soon) == 1], firstOf(soon)))
	}
	if len(over) > 0 {
		found = append(found, warn("client-expired", "\"sallyportd client revoke IDENTIFIER\" removes a client, and \"sallyportd client expire IDENTIFIER WHEN\" lets it in again",
			"%s expired, and the server refuses %s: %s", map[bool]string{true: "1 client has", false: fmt.Sprintf("%d clients have", len(over))}[len(over) == 1],
			map[bool]string{true: "it", false: "them"}[len(over) == 1], firstOf(over)))
	}
	return found
}

// firstOf joins the first texts of a list, and counts the others.
func firstOf(all []string) string {
	const most = 5
	text := strings.Join(all[:min(len(all), most)], ", ")
	if left := len(all) - most; left > 0 {
		text += fmt.Sprintf(" and %d others", left)
	}
	return text
}

package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/verify/schedule"
)

// minutePorts is the result of ports --json.
type minutePorts struct {
	Minute string   `json:"minute"` // its beginning, in UTC (RFC 3339)
	Ports  []uint16 `json:"ports"`  // in the order of the knocks
	// ServicePorts are those at which the service may listen, if its port rotates: the
	// server uses the first one that is free.
	ServicePorts []uint16 `json:"service_ports,omitempty"`
}

func portsCommand(env cli.Env) *cobra.Command {
	var at string
	var asJSON bool
	c := &cobra.Command{
		Use:   "ports PROFILE",
		Short: "Print the ports of a minute, in the order of the knocks",
		Long: `Print the ports of a minute, in the order of the knocks.

If the port of the profile's service rotates, a second line has the ports at which the
service may be after knocks of that minute. The server uses the first of them that is
free on its host.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t := env.Now()
			if at != "" {
				var err error
				if t, err = parseTime(at); err != nil {
					return cli.Misuse(fmt.Errorf("--at: %w", err))
				}
			}
			p, err := profiles(c, env).Load(c.Context(), args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if !p.HasSequence() {
				return cli.Misuse(errors.New("expected a profile with the sequence protocol, " +
					"got one that has only [challenge], whose ports do not change"))
			}
			minute := schedule.MinuteOf(t)
			ports, err := schedule.Ports(p.Generator, p.PortSecret, minute, p.Ports)
			if err != nil {
				return err
			}
			var service []uint16
			if p.Rotation != nil {
				if service, err = p.Candidates(minute); err != nil {
					return err
				}
			}
			if asJSON {
				return env.Out().JSON(minutePorts{minute.Start().UTC().Format(time.RFC3339), ports, service})
			}
			number := func(port uint16) string { return strconv.Itoa(int(port)) }
			text := joined(ports, number) + "\n"
			if service != nil {
				text += "service " + joined(service, number) + "\n"
			}
			return env.Out().Printf("%s", text)
		},
	}
	c.Flags().StringVar(&at, "at", "", "a time in the minute, as 2026-01-02T15:04:05Z or @UNIXSECONDS (default now)")
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// parseTime parses RFC 3339, or @ and Unix seconds. The time must fit into the
// timestamp of a knock.
func parseTime(s string) (time.Time, error) {
	var t time.Time
	if digits, ok := strings.CutPrefix(s, "@"); ok {
		seconds, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return t, fmt.Errorf("expected @ and Unix seconds from 0 to 4294967295, got %q", s)
		}
		return time.Unix(int64(seconds), 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("expected a time such as 2026-01-02T15:04:05Z or @1767366245, got %q", s)
	}
	if t.Unix() < 0 || t.Unix() > math.MaxUint32 {
		return t, fmt.Errorf("expected a time from 1970 to 2106, got %q", s)
	}
	return t, nil
}

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
	"sallyport/cmd/internal/profile"
	"sallyport/verify/schedule"
)

// minutePorts is the result of ports --json.
type minutePorts struct {
	Minute string   `json:"minute"` // its beginning, in UTC (RFC 3339)
	Ports  []uint16 `json:"ports"`  // in the order of the knocks
}

func portsCommand(env cli.Env) *cobra.Command {
	var at string
	var asJSON bool
	c := &cobra.Command{
		Use:   "ports PROFILE",
		Short: "Print the ports of a minute, in the order of the knocks",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t := env.Now()
			if at != "" {
				var err error
				if t, err = parseTime(at); err != nil {
					return cli.Misuse(fmt.Errorf("--at: %w", err))
				}
			}
			p, err := profile.Load(args[0])
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
			if asJSON {
				return env.Out().JSON(minutePorts{minute.Start().UTC().Format(time.RFC3339), ports})
			}
			text := joined(ports, func(port uint16) string { return strconv.Itoa(int(port)) })
			return env.Out().Printf("%s\n", text)
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

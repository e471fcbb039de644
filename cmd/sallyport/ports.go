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

func portsCommand(env cli.Env) *cobra.Command {
	var at string
	c := &cobra.Command{
		Use:   "ports PROFILE",
		Short: "Print a minute's ports in the order in which they are knocked",
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
				return cli.Misuse(errors.New("the profile has nothing but [challenge], whose ports do not change"))
			}
			ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(t), p.Ports)
			if err != nil {
				return err
			}
			text := make([]string, len(ports))
			for i, port := range ports {
				text[i] = strconv.Itoa(int(port))
			}
			_, err = fmt.Fprintln(env.Stdout, strings.Join(text, ","))
			return err
		},
	}
	c.Flags().StringVar(&at, "at", "", "a time in the minute, as 2026-01-02T15:04:05Z or @UNIXSECONDS (default now)")
	return c
}

// parseTime reads RFC 3339 or @ and Unix seconds, within what a knock's
// timestamp can hold.
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

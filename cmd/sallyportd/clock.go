package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/sessions/clock"
)

// hostClock returns whether the clock of this host is synchronised, and by which programs.
func hostClock() admin.Clock {
	return daemon.ClockState(clock.Synchronisation(), clock.Keepers(os.DirFS("/proc")))
}

// effectiveClock is the clock of the host where a server would run.
type effectiveClock struct {
	Synchronised *bool    `json:"synchronised"` // null: the kernel cannot be asked
	By           string   `json:"by,omitempty"`
	Programs     []string `json:"programs"` // null: this process cannot see them
	MaxError     float64  `json:"max_error_seconds"`

	text string
}

func clockOf(c admin.Clock) *effectiveClock {
	return &effectiveClock{c.Synchronised, c.By, c.Programs, c.MaxError, clockText(c)}
}

// clockText returns whether a clock is synchronised, and by whom.
func clockText(c admin.Clock) string {
	programs := strings.Join(c.Programs, " and ")
	switch {
	case c.Synchronised == nil:
		return "not known whether it is synchronised"
	case !*c.Synchronised && programs != "":
		return "not synchronised, although " + programs + " runs"
	case !*c.Synchronised:
		return "not synchronised"
	}
	by := "by " + programs
	switch {
	case c.Programs == nil:
		by = "by a program that is not visible here: " + c.By
	case programs == "":
		by = "by no time service that is known here: " + c.By
	}
	return fmt.Sprintf("synchronised %s, wrong by %s at most", by, seconds(c.MaxError).Round(time.Millisecond))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// clockHints are commands that show why a time service does not synchronise the clock.
var clockHints = map[string]string{
	"chronyd": "chronyc tracking", "systemd-timesyncd": "timedatectl timesync-status", "ntpd": "ntpq -p", "ntpd-rs": "ntp-ctl status",
}

// checkClock warns of a clock that is not synchronised.
func checkClock(c admin.Clock, tolerance time.Duration, now string) []finding {
	if c.Synchronised == nil || *c.Synchronised {
		return nil
	}
	hint, although := "run chrony, ntpd or systemd-timesyncd", ""
	if c.Programs == nil {
		hint += " on the host: a container has its clock"
	}
	if len(c.Programs) > 0 {
		although = ", although " + strings.Join(c.Programs, " and ") + " runs"
		hint = "it may have just started, or reaches no server"
		if command := clockHints[c.Programs[0]]; command != "" {
			hint += ": " + command
		}
	}
	return []finding{warn("clock-unsynchronised", hint,
		"this host's clock, which shows %s, is not synchronised%s: the server rejects all knocks when the clock is wrong by more than %s", now, although, tolerance)}
}

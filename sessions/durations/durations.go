// Package durations parses durations as people write them: as Go does, and with days
// and weeks.
package durations

import (
	"errors"
	"regexp"
	"strings"
	"time"
)

// Units are the units that Parse accepts, for errors.
const Units = "ms, s, m, h, d, w"

// long matches the weeks and days that a duration begins with.
var long = regexp.MustCompile(`^([0-9]{1,6})([wd])`)

var errSyntax = errors.New("not a duration")

// Parse parses a duration such as 90s, 1h30m, 7d or 1w2d12h. A day has 24 hours.
func Parse(text string) (time.Duration, error) {
	total, last := time.Duration(0), ""
	rest := text
	for {
		m := long.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		hours := 24 * 7
		if m[2] == "d" {
			hours = 24
		}
		if last == m[2] || last == "d" {
			return 0, errSyntax
		}
		part, err := time.ParseDuration(m[1] + "h")
		if err != nil || part > (1<<63-1)/time.Duration(hours)-total/time.Duration(hours) {
			return 0, errSyntax
		}
		total, last, rest = total+part*time.Duration(hours), m[2], rest[len(m[0]):]
	}
	if last != "" && rest == "" {
		return total, nil
	}
	if last != "" && (rest[0] == '-' || rest[0] == '+') {
		return 0, errSyntax
	}
	part, err := time.ParseDuration(rest)
	if err != nil || total+part < total && total > 0 {
		return 0, errSyntax
	}
	return total + part, nil
}

// Short returns a duration without zero minutes and seconds: "1m", not "1m0s".
func Short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

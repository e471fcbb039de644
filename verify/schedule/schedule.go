package schedule

import (
	"crypto/md5"
	"fmt"
	"strconv"
	"time"
)

// Bounds of a schedule.
const (
	MinPort  = 1025 // lower ports are reserved for well-known services
	MaxPort  = 65535
	MaxPorts = 128 // sequence IDs are 0 to 127

	// Slack is the maximum distance of a timestamp from its minute, in seconds:
	// a client may draw the ports in one second and stamp a knock in the next.
	Slack = 2
)

// Minute counts whole minutes since the Unix epoch.
type Minute int64

// MinuteOf returns the minute that contains t.
func MinuteOf(t time.Time) Minute {
	s := t.Unix()
	m := s / 60
	if s%60 < 0 {
		m--
	}
	return Minute(m)
}

// Start returns the first instant of m, in local time.
func (m Minute) Start() time.Time { return time.Unix(int64(m)*60, 0) }

// Contains reports whether a timestamp in Unix seconds lies in m, or at most
// slack seconds before or after it.
func (m Minute) Contains(timestamp uint32, slack int64) bool {
	t := int64(timestamp)
	return t >= int64(m)*60-slack && t < int64(m)*60+60+slack
}

// Bounds returns the first and the last timestamp for which Contains returns
// true with Slack.
func (m Minute) Bounds() (first, last int64) {
	return int64(m)*60 - Slack, int64(m)*60 + 59 + Slack
}

// Place is a position in the schedule: the index-th port of a minute. A port
// that is drawn for several live minutes has a place in each of them.
type Place struct {
	Minute Minute
	// Secret is the port secret from which the port was drawn; zero: it is not known.
	Secret SecretName
	Index  int8
}

// Ports draws the n distinct ports of a minute, in the order in which clients
// knock on them. It returns an error only if n is not in 1…128 or the generator
// is unknown.
func Ports(g Generator, portSecret string, m Minute, n int) ([]uint16, error) {
	if n < 1 || n > MaxPorts {
		return nil, fmt.Errorf("draw ports: expected 1 to %d ports, got %d", MaxPorts, n)
	}
	digest := md5.Sum(strconv.AppendInt([]byte(portSecret), int64(m), 10))
	var next func() (port uint16, ok bool)
	switch g {
	case Algorithm1:
		next = algorithm1(digest)
	case Java:
		next = java(digest)
	default:
		return nil, fmt.Errorf("draw ports: unknown generator %d", g)
	}
	ports := make([]uint16, 0, n)
	var chosen [MaxPort + 1]bool
	for len(ports) < n {
		p, ok := next()
		if ok && !chosen[p] {
			chosen[p] = true
			ports = append(ports, p)
		}
	}
	return ports, nil
}

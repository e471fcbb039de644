package client

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sallyport/sessions/durable"
	"sallyport/verify/schedule"
)

// A device remembers at which drawn ports it saw a service open, beside its nonces: a
// second connection in the same minute finds that port open before the knock, and must
// not take it for that of another program. The server holds the port until the minute
// is over. A file that is lost or damaged only makes the client wait for another minute.

const (
	seenHeader = "sallyport-ports 1"
	// maxSeen is how many ports a device remembers: those of a client's services, in
	// two minutes.
	maxSeen     = 32
	maxSeenFile = 1 << 16
)

// seenPort is a line of the file: minute, address and port, and the service's name.
type seenPort struct {
	minute  schedule.Minute
	at      netip.AddrPort
	service string
}

func (f NonceFile) seenPath() string { return f.Path + ".ports" }

// seen returns the ports at which this device has seen a service open in a minute.
func (f NonceFile) seen(service string, m schedule.Minute) map[netip.AddrPort]bool {
	found := map[netip.AddrPort]bool{}
	for _, s := range f.readSeen() {
		if s.service == service && s.minute == m {
			found[s.at] = true
		}
	}
	return found
}

// see records that this device has seen a service open.
func (f NonceFile) see(ctx context.Context, service string, m schedule.Minute, at netip.AddrPort) error {
	lock, err := durable.TakeLock(ctx, f.Path+".lock", f.Path, lockRetry)
	if err != nil {
		return fmt.Errorf("lock the nonce file: %w", err)
	}
	defer lock.Close()
	text, writable := readMemory(f.seenPath(), maxSeenFile)
	if !writable {
		return nil
	}
	list := []seenPort{{m, at, service}}
	for _, s := range parseSeen(text) {
		if s != list[0] && s.minute >= m-schedule.MaxLive && len(list) < maxSeen {
			list = append(list, s)
		}
	}
	if err := durable.WriteFile(f.seenPath(), []byte(seenText(list)), 0o600); err != nil {
		return fmt.Errorf("record the port of the service: %w", err)
	}
	return nil
}

// seenText returns the file that parseSeen reads.
func seenText(list []seenPort) string {
	text := seenHeader + "\n"
	for _, s := range list {
		text += fmt.Sprintf("%d %s %s\n", s.minute, s.at, s.service)
	}
	return text
}

func (f NonceFile) readSeen() (list []seenPort) {
	text, _ := readMemory(f.seenPath(), maxSeenFile)
	return parseSeen(text)
}

// parseSeen returns the lines of the file that it can read.
func parseSeen(text string) (list []seenPort) {
	header, rest, _ := strings.Cut(text, "\n")
	if header != seenHeader {
		return nil
	}
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) != 3 || len(list) == maxSeen {
			continue
		}
		minute, err := strconv.ParseInt(fields[0], 10, 64)
		at, err2 := netip.ParseAddrPort(fields[1])
		if err == nil && err2 == nil {
			list = append(list, seenPort{schedule.Minute(minute), at, fields[2]})
		}
	}
	return list
}

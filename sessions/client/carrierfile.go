package client

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sallyport/sessions/durable"
)

// CarrierFile is the file in which a device remembers by which carrier it has reached a
// server from a network, if not by the usual one. Nothing depends on it: the client ignores
// lines of another form. Each line has the server, the network, the carrier, and when it
// worked, in seconds since 1970; the latest comes first.
//
//	sallyport-carriers 1
//	gate.example 192.0.2.0/24 https 1767366245
type CarrierFile struct{ Path string } // empty: there is no file

const (
	carriersHeader = "sallyport-carriers 1"
	// maxCarrierLines is how many lines the file has at most, after the first.
	maxCarrierLines = 32
	maxCarrierLine  = maxHost + 80
	// carrierTime is how long a device uses a carrier because it has worked: networks
	// change, and others have the same addresses.
	carrierTime = 7 * 24 * time.Hour
)

// carrierLine is a line of the file.
type carrierLine struct {
	server, network string
	by              Carrier
	at              int64
}

// networkOf returns the network from which this computer sends to a server: the prefix of
// its address, as far as other computers of a usual network share it. Empty: unknown.
func networkOf(server string, addresses []netip.Addr) string {
	for _, a := range append(named(server, addresses, AnyFamily), anywhere...) {
		_, self, err := sourceAddress(a)
		if err != nil {
			continue
		}
		self = self.Unmap().WithZone("")
		bits := 64
		if self.Is4() {
			bits = 24
		}
		if p, err := self.Prefix(bits); err == nil {
			return p.String()
		}
	}
	return ""
}

// anywhere are addresses of no host: a packet to them would leave by the default route.
var anywhere = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// remembered returns the carrier that has worked; CarrierAuto: none.
func (f CarrierFile) remembered(server, network string, now time.Time) Carrier {
	if network == "" {
		return CarrierAuto
	}
	for _, l := range f.read() {
		age := now.Unix() - l.at
		if l.server == server && l.network == network && age >= 0 && age < int64(carrierTime/time.Second) {
			return l.by
		}
	}
	return CarrierAuto
}

// remember records that a carrier has worked; the usual one needs no line. An error is
// none of the caller's: the client then tries the usual one first.
func (f CarrierFile) remember(server, network string, by, usual Carrier, now time.Time) {
	if f.Path == "" || network == "" || !ValidHost(server) {
		return
	}
	before := f.read()
	after := make([]carrierLine, 0, len(before)+1)
	if by != usual {
		after = append(after, carrierLine{server, network, by, now.Unix()})
	}
	known := false
	for _, l := range before {
		if l.server == server && l.network == network {
			// A line of the last day is fresh enough.
			known = known || l.by == by && now.Unix()-l.at < int64(24*time.Hour/time.Second) && now.Unix() >= l.at
			continue
		}
		if len(after) < maxCarrierLines {
			after = append(after, l)
		}
	}
	if known && by != usual || by == usual && len(after) == len(before) {
		return
	}
	if durable.MkdirAll(filepath.Dir(f.Path), 0o700) == nil {
		durable.WriteFile(f.Path, formatCarriers(after), 0o600)
	}
}

func (f CarrierFile) read() []carrierLine {
	if f.Path == "" {
		return nil
	}
	file, err := durable.Open(f.Path)
	if err != nil {
		return nil
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, (maxCarrierLines+1)*maxCarrierLine))
	if err != nil {
		return nil
	}
	return parseCarriers(string(text))
}

// parseCarriers returns the valid lines of the file, one for each server and network.
func parseCarriers(text string) (all []carrierLine) {
	header, rest, _ := strings.Cut(text, "\n")
	if header != carriersHeader {
		return nil
	}
	seen := map[[2]string]bool{}
	for line := range strings.Lines(rest) {
		line, ended := strings.CutSuffix(line, "\n")
		fields := strings.Split(line, " ")
		if !ended || len(fields) != 4 || !ValidHost(fields[0]) || seen[[2]string{fields[0], fields[1]}] {
			continue
		}
		network, err := netip.ParsePrefix(fields[1])
		at, err2 := strconv.ParseInt(fields[3], 10, 64)
		by := Carrier(fields[2])
		if err != nil || err2 != nil || network != network.Masked() || network.String() != fields[1] || !by.Valid() || by == CarrierAuto {
			continue
		}
		seen[[2]string{fields[0], fields[1]}] = true
		if all = append(all, carrierLine{fields[0], fields[1], by, at}); len(all) == maxCarrierLines {
			break
		}
	}
	return all
}

func formatCarriers(all []carrierLine) []byte {
	text := carriersHeader + "\n"
	for _, l := range all {
		text += fmt.Sprintf("%s %s %s %d\n", l.server, l.network, l.by, l.at)
	}
	return []byte(text)
}

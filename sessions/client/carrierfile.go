package client

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CarrierFile is the file in which a device remembers by which carrier it has reached a
// server from a network, where the usual one had failed. Nothing depends on it: the client
// ignores lines of another form. Each line has the server, the ways that the profile has
// (see waysOf), the network, the carrier, and when the usual one failed last, in seconds
// since 1970; the latest comes first.
//
//	sallyport-carriers 2
//	gate.example 8d6a1c0f5b3e7a92 192.0.2.0/24 https 1767366245
type CarrierFile struct{ Path string } // empty: there is no file

const (
	carriersHeader = "sallyport-carriers 2"
	// maxCarrierLines is how many lines the file has at most, after the first.
	maxCarrierLines = 32
	maxCarrierFile  = (maxCarrierLines + 1) * (maxHost + 96)
	// carrierTime is how long a device begins with another carrier than the usual one,
	// after that has failed. Success does not prolong it: filters go, and other networks
	// have the same addresses.
	carrierTime = 24 * time.Hour
	// memoryTime is how long the client waits for other processes that use the file.
	memoryTime = 200 * time.Millisecond
)

// carrierPlace is what a line of the file is for. Two profiles of one server that have
// other ways do not share a line.
type carrierPlace struct{ server, ways, network string }

// carrierLine is a line of the file.
type carrierLine struct {
	carrierPlace
	by Carrier
	at int64
}

// waysOf returns a digest of the ways that a profile has. Sequences: the usual way is the
// sequence protocol.
func waysOf(c Challenge, sequences bool) string {
	id := ""
	if c.Operation != nil {
		id = c.Operation.ID()
	}
	text := fmt.Sprintf("%t %q %+v %+v %d %q %q %q", sequences, id, c.Request, c.Response, c.AnswerPort, c.HTTPS, c.DNS, c.DNSServers)
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
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
func (f CarrierFile) remembered(p carrierPlace, now time.Time) Carrier {
	if p.network == "" {
		return CarrierAuto
	}
	for _, l := range f.read() {
		age := now.Unix() - l.at // below 0 after a clock that was ahead
		if l.carrierPlace == p && age >= 0 && age < int64(carrierTime/time.Second) {
			return l.by
		}
	}
	return CarrierAuto
}

// remember records that the usual carrier has failed, and another one has worked.
func (f CarrierFile) remember(p carrierPlace, by Carrier, now time.Time) {
	f.change(p, &carrierLine{p, by, now.Unix()})
}

// forget records that the usual carrier works.
func (f CarrierFile) forget(p carrierPlace) {
	if slices.ContainsFunc(f.read(), func(l carrierLine) bool { return l.carrierPlace == p }) {
		f.change(p, nil)
	}
}

// change replaces the line for a place; nil: it removes the line. If it cannot, the client
// goes on without: the next exchange only takes longer.
func (f CarrierFile) change(p carrierPlace, line *carrierLine) {
	if f.Path == "" || p.network == "" || !ValidHost(p.server) {
		return
	}
	changeMemory(f.Path, maxCarrierFile, func(text string) []byte {
		var after []carrierLine
		if line != nil {
			after = append(after, *line)
		}
		for _, l := range parseCarriers(text) {
			if l.carrierPlace != p && len(after) < maxCarrierLines {
				after = append(after, l)
			}
		}
		return formatCarriers(after)
	})
}

func (f CarrierFile) read() []carrierLine {
	if f.Path == "" {
		return nil
	}
	text, _ := readMemory(f.Path, maxCarrierFile)
	return parseCarriers(text)
}

// parseCarriers returns the valid lines of the file, one for each place.
func parseCarriers(text string) (all []carrierLine) {
	header, rest, _ := strings.Cut(text, "\n")
	if header != carriersHeader {
		return nil
	}
	seen := map[carrierPlace]bool{}
	for line := range strings.Lines(rest) {
		l, ok := parseCarrierLine(line)
		if !ok || seen[l.carrierPlace] {
			continue
		}
		seen[l.carrierPlace] = true
		if all = append(all, l); len(all) == maxCarrierLines {
			break
		}
	}
	return all
}

func parseCarrierLine(line string) (l carrierLine, ok bool) {
	line, ended := strings.CutSuffix(line, "\n")
	fields := strings.Split(line, " ")
	if !ended || len(fields) != 5 {
		return l, false
	}
	l = carrierLine{carrierPlace{fields[0], fields[1], fields[2]}, Carrier(fields[3]), 0}
	network, err := netip.ParsePrefix(l.network)
	ways, err2 := hex.DecodeString(l.ways)
	if err != nil || err2 != nil || len(ways) != 8 || network != network.Masked() || network.String() != l.network {
		return l, false
	}
	l.at, err = strconv.ParseInt(fields[4], 10, 64)
	return l, err == nil && ValidHost(l.server) && l.by.Valid() && l.by != CarrierAuto
}

func formatCarriers(all []carrierLine) []byte {
	text := carriersHeader + "\n"
	for _, l := range all {
		text += fmt.Sprintf("%s %s %s %s %d\n", l.server, l.ways, l.network, l.by, l.at)
	}
	return []byte(text)
}

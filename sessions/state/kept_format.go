package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// keptVersion is the version of the file's format. A later one is a NewerError.
const keptVersion = versionEnds

// The versions of the files with leases. A file that has no lease for any address is one
// of the first version, which earlier releases read.
const (
	versionAddresses = 1
	versionAny       = 2 // the peer may be access.AnyAddress, and has no address
	versionEnds      = 3 // a lease may have an End, and then no operation
)

// versionFor returns the version of a file with leases for these peers.
func versionFor[T any](list []T, peer func(T) access.Peer) int {
	if slices.ContainsFunc(list, func(l T) bool { return peer(l) == access.AnyAddress }) {
		return versionAny
	}
	return versionAddresses
}

// maxKeptFile is the maximum size of the file in bytes: a lease has less than 512.
const maxKeptFile = 1024 + MaxKept*512

// keptHeader is the first line of the file. A line for each lease follows.
type keptHeader struct {
	Version int    `json:"version"`
	Leases  int    `json:"leases"`
	SHA256  string `json:"sha256"` // of all following lines
}

// keptLine is a lease in the file.
type keptLine struct {
	Service      string `json:"service"`
	Operation    string `json:"operation,omitempty"`
	Client       string `json:"client,omitempty"`
	Peer         string `json:"peer"`
	Zone         string `json:"zone,omitempty"` // of the peer
	Address      string `json:"address"`
	Anyone       bool   `json:"anyone,omitempty"`
	Since        int64  `json:"since"` // Unix seconds
	Secret       string `json:"secret,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`

	// Of a lease that ends.
	Boot  string `json:"boot,omitempty"`
	Ends  int64  `json:"ends,omitempty"`  // nanoseconds since the kernel's start
	Until int64  `json:"until,omitempty"` // Unix seconds
}

// encodeKept returns the content of the file.
func encodeKept(list []Kept) ([]byte, error) {
	if len(list) > MaxKept {
		return nil, fmt.Errorf("expected at most %d leases, got %d", MaxKept, len(list))
	}
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	for _, k := range list {
		if err := e.Encode(k.line()); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(lines.Bytes())
	var content bytes.Buffer
	version := versionFor(list, func(k Kept) access.Peer { return k.Peer })
	if slices.ContainsFunc(list, func(k Kept) bool { return k.End != (End{}) }) {
		version = versionEnds
	}
	err := json.NewEncoder(&content).Encode(keptHeader{version, len(list), hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, err
	}
	content.Write(lines.Bytes())
	if content.Len() > maxKeptFile {
		return nil, fmt.Errorf("expected at most %d bytes, got %d", maxKeptFile, content.Len())
	}
	return content.Bytes(), nil
}

func (k Kept) line() keptLine {
	l := keptLine{
		Service: k.Service, Operation: k.Operation, Peer: k.Peer.Prefix.String(), Zone: k.Peer.Zone,
		Address: addressText(k.Address), Anyone: k.Anyone, Since: k.Since.Unix(),
		Boot: k.End.Boot, Ends: int64(k.End.Since), Until: k.End.Wall,
	}
	if k.Operation != "" {
		l.Secret = fmt.Sprintf("%016x", uint64(k.Secret))
	}
	if k.Client != (wire.Identifier{}) {
		l.Client, l.ClientSecret = string(k.Client[:]), fmt.Sprintf("%016x", uint64(k.ClientSecret))
	}
	return l
}

// decodeKept decodes the content of the file. Its checksum finds damage; no part of
// a damaged file is used.
func decodeKept(content []byte) ([]Kept, error) {
	first, lines, found := bytes.Cut(content, []byte("\n"))
	var h keptHeader
	if err := json.Unmarshal(first, &h); err != nil || !found {
		return nil, errors.New("its first line is not a header")
	}
	if h.Version > keptVersion {
		return nil, &NewerError{Version: uint32(h.Version), Latest: keptVersion}
	}
	if sum := sha256.Sum256(lines); hex.EncodeToString(sum[:]) != h.SHA256 || h.Version < versionAddresses {
		return nil, errors.New("its checksum or its version is wrong")
	}
	var list []Kept
	for line := range bytes.Lines(lines) {
		k, err := decodeKeptLine(line)
		if err != nil {
			return nil, fmt.Errorf("lease %d: %w", len(list)+1, err)
		}
		list = append(list, k)
	}
	if len(list) != h.Leases || len(list) > MaxKept {
		return nil, fmt.Errorf("it has %d leases, its header %d; at most %d are allowed", len(list), h.Leases, MaxKept)
	}
	return list, nil
}

func decodeKeptLine(line []byte) (k Kept, err error) {
	var l keptLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return k, errors.New("expected a lease as JSON")
	}
	prefix, err := netip.ParsePrefix(l.Peer)
	if err != nil {
		return k, errors.New("its peer is not a network")
	}
	k = Kept{
		Service: l.Service, Operation: l.Operation, Peer: access.Peer{Prefix: prefix, Zone: l.Zone},
		Anyone: l.Anyone, Since: time.Unix(l.Since, 0), End: End{l.Boot, time.Duration(l.Ends), l.Until},
	}
	ends := k.End != (End{})
	if k.Address, err = parseAddress(l.Address); err != nil {
		return k, err
	}
	switch {
	case l.Client != "" && len(l.Client) != len(k.Client):
		return k, errors.New("its client is not an identifier")
	case k.Peer.IsAnyone() || !holds(k.Peer, k.Address):
		return k, errors.New("its peer does not contain its address")
	case l.Service == "" || l.Operation == "" && (!ends || l.Client == ""):
		return k, errors.New("it names no service or no operation")
	case ends && (l.Boot == "" || l.Ends <= 0 || l.Until <= 0):
		return k, errors.New("its end is not complete")
	}
	copy(k.Client[:], l.Client)
	secret, ok := parseFingerprint(l.Secret)
	clientSecret, ok2 := parseFingerprint(l.ClientSecret)
	if ok != (l.Operation != "") || l.Operation == "" && l.Secret != "" || (l.Client != "") != ok2 || l.Client == "" && l.ClientSecret != "" {
		return k, errors.New("it has no fingerprint of a secret")
	}
	k.Secret, k.ClientSecret = secret, clientSecret
	return k, nil
}

// addressText returns the text of the address of a lease; empty: it is for any.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func parseAddress(text string) (a netip.Addr, err error) {
	if text == "" {
		return a, nil
	}
	if a, err = netip.ParseAddr(text); err != nil {
		return a, errors.New("its address is not an address")
	}
	return a, nil
}

// holds reports whether a peer is the one of an address, or that for any of none.
func holds(p access.Peer, a netip.Addr) bool {
	if !a.IsValid() {
		return p == access.AnyAddress
	}
	prefixLen4, prefixLen6 := p.Lengths()
	return p == access.PeerIn(a, prefixLen4, prefixLen6)
}

func parseFingerprint(text string) (verify.Fingerprint, bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 8 {
		return 0, false
	}
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return verify.Fingerprint(n), n != 0
}

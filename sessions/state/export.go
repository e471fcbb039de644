package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// exportName is what the first line of an export names.
const exportName = "sallyport state"

// ExportVersion is the version of an export. A later one is a NewerExportError.
const ExportVersion = 1

// MaxExport is the maximum size of an export in bytes.
const MaxExport = 256 << 20

// exportHeader is the first line of an export. A line for each record follows: FORMATS.md of
// cmd/sallyportd defines them.
type exportHeader struct {
	Format    string `json:"format"`
	Version   int    `json:"version"`
	Nonces    int    `json:"nonces"`
	Removed   int    `json:"removed"`
	Leases    int    `json:"leases"`
	LostUntil uint32 `json:"lost_until,omitempty"` // Unix seconds
	SHA256    string `json:"sha256"`               // of all following lines
}

// exportLine is a line after the first one: exactly one of these.
type exportLine struct {
	Nonces  *exportNonces  `json:"nonces,omitempty"`
	Removed *exportRemoved `json:"removed,omitempty"`
	Lease   *exportLease   `json:"lease,omitempty"`
}

// named reports whether the client is one that a text can name.
func (l exportLine) named() (ok bool) {
	switch {
	case l.Nonces != nil:
		_, ok = identifierOf(l.Nonces.Client)
	case l.Removed != nil:
		_, ok = identifierOf(l.Removed.Client)
	case l.Lease != nil:
		_, ok = identifierOf(l.Lease.Client)
	}
	return ok
}

type exportNonces struct {
	Client  string   `json:"client"`
	Secret  string   `json:"secret,omitempty"` // its Fingerprint
	Highest uint32   `json:"highest"`
	Stamp   uint32   `json:"stamp"`
	Window  []string `json:"window"` // 4 words of 64 bits, in hex
}

type exportRemoved struct {
	Client string `json:"client"`
	Until  uint32 `json:"until"`
}

type exportLease struct {
	Client  string `json:"client"`
	Service string `json:"service"` // the ServiceID, in hex
	Peer    string `json:"peer"`
	Zone    string `json:"zone,omitempty"`
	Until   int64  `json:"until"` // Unix seconds
}

// EncodeExport returns the export of a content. Each content has one.
func EncodeExport(c Contents) ([]byte, error) {
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	for _, l := range exportLines(c) {
		if !l.named() {
			return nil, errors.New("the state file has a client whose identifier is not printable")
		}
		if err := e.Encode(l); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(lines.Bytes())
	h := exportHeader{
		Format: exportName, Version: ExportVersion, Nonces: len(c.Entries), Removed: len(c.removed), Leases: len(c.Leases),
		LostUntil: headerAfter(c).lostUntil, SHA256: hex.EncodeToString(sum[:]),
	}
	var content bytes.Buffer
	if err := json.NewEncoder(&content).Encode(h); err != nil {
		return nil, err
	}
	content.Write(lines.Bytes())
	if content.Len() > MaxExport {
		return nil, fmt.Errorf("expected at most %d bytes, got %d", MaxExport, content.Len())
	}
	return content.Bytes(), nil
}

func exportLines(c Contents) (list []exportLine) {
	for _, e := range c.Entries {
		n := exportNonces{Client: string(e.Identifier[:]), Highest: e.HighestNonce, Stamp: e.Stamp}
		if e.Secret != 0 {
			n.Secret = fmt.Sprintf("%016x", uint64(e.Secret))
		}
		for _, word := range e.Ring {
			n.Window = append(n.Window, fmt.Sprintf("%016x", word))
		}
		list = append(list, exportLine{Nonces: &n})
	}
	for _, r := range c.removed {
		list = append(list, exportLine{Removed: &exportRemoved{string(r.client[:]), r.until}})
	}
	for _, l := range c.Leases {
		list = append(list, exportLine{Lease: &exportLease{
			string(l.Client[:]), hex.EncodeToString(l.Service[:]), l.Peer.Prefix.String(), l.Peer.Zone, l.Until.Unix(),
		}})
	}
	return list
}

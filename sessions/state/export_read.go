package state

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// NewerExportError is the error for an export of a later version.
type NewerExportError struct{ Version int }

func (e *NewerExportError) Error() string {
	return fmt.Sprintf("it has version %d, this release reads versions up to %d", e.Version, ExportVersion)
}

// Hint returns a remedy.
func (e *NewerExportError) Hint() string {
	return fmt.Sprintf("\"sallyportd state export --format %d --out nonces.db\" of the release that wrote it makes a state file for this one", version)
}

// DecodeExport reads an export, and checks all of it: any other text is an error. An export
// of a later version is a NewerExportError.
func DecodeExport(text []byte) (c Contents, err error) {
	first, lines, found := bytes.Cut(text, []byte("\n"))
	var h exportHeader
	if err := json.Unmarshal(first, &h); err != nil || !found || h.Format != exportName {
		return c, errors.New("expected a file of \"sallyportd state export --out\"")
	}
	if h.Version > ExportVersion {
		return c, &NewerExportError{h.Version}
	}
	if h.LostUntil > 0 {
		c.Gap.LostUntil = time.Unix(int64(h.LostUntil), 0)
	}
	n := 1
	for line := range bytes.Lines(lines) {
		n++
		if err := c.addLine(line); err != nil {
			return Contents{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	// There is one text of each content: so its counts and its checksum are right, too.
	again, err := EncodeExport(c)
	if err == nil && !bytes.Equal(again, text) {
		err = errors.New("its checksum, its counts or its form is wrong: it was changed, or is not complete")
	}
	if err == nil {
		err = c.checkOrder()
	}
	if err != nil {
		return Contents{}, err
	}
	c.Version = version
	return c, nil
}

func (c *Contents) addLine(line []byte) error {
	var l exportLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return errors.New("expected a record as JSON")
	}
	switch {
	case l.Nonces != nil:
		return c.addNonces(l.Nonces)
	case l.Removed != nil:
		id, ok := identifierOf(l.Removed.Client)
		if !ok || l.Removed.Until == 0 {
			return errors.New("expected a client and a stamp")
		}
		c.removed = append(c.removed, removed{id, l.Removed.Until})
		return nil
	case l.Lease != nil:
		return c.addLease(l.Lease)
	}
	return errors.New("expected nonces, removed or lease")
}

func (c *Contents) addNonces(n *exportNonces) error {
	id, ok := identifierOf(n.Client)
	e := sessions.Entry{Identifier: id, HighestNonce: n.Highest, Stamp: n.Stamp}
	if n.Secret != "" {
		secret, known := parseFingerprint(n.Secret)
		e.Secret, ok = secret, ok && known
	}
	if !ok || len(n.Window) != len(e.Ring) {
		return errors.New("expected a client, the fingerprint of its secret, and a window of 4 words")
	}
	for i, text := range n.Window {
		word, err := strconv.ParseUint(text, 16, 64)
		if err != nil {
			return errors.New("expected a window of 4 words in hex")
		}
		e.Ring[i] = word
	}
	if !e.Ring.Used(e.HighestNonce) {
		return errors.New("the highest nonce is not marked as used")
	}
	c.Entries = append(c.Entries, e)
	return nil
}

func (c *Contents) addLease(l *exportLease) error {
	id, ok := identifierOf(l.Client)
	prefix, err := netip.ParsePrefix(l.Peer)
	service, hexErr := hex.DecodeString(l.Service)
	if !ok || err != nil || hexErr != nil || len(service) != len(access.ServiceID{}) {
		return errors.New("expected a lease with its client, service and peer")
	}
	lease := Lease{id, access.ServiceID(service), access.Peer{Prefix: prefix, Zone: l.Zone}, time.Unix(l.Until, 0)}
	if err := lease.check(); err != nil {
		return err
	}
	// The file must be able to hold it.
	key := lease.id().key()
	if _, err := decodeLease(key, lease.encode(key)); err != nil {
		return err
	}
	c.Leases = append(c.Leases, lease)
	return nil
}

// checkOrder checks that all records ascend by their keys, so that none is there twice, and
// that the store could have them.
func (c *Contents) checkOrder() error {
	var last []byte
	of, n := wire.Identifier{}, 0
	for _, e := range c.Entries {
		key := recordKey(e)
		if bytes.Compare(last, key) >= 0 {
			return errors.New("the nonces do not ascend by client and secret")
		}
		if last = key; e.Identifier != of {
			of, n = e.Identifier, 0
		}
		if n++; n > maxRecords+1 { // one may name no secret
			return fmt.Errorf("client %s has more than %d records", of, maxRecords)
		}
	}
	for i, r := range c.removed {
		if i > 0 && bytes.Compare(c.removed[i-1].client[:], r.client[:]) >= 0 {
			return errors.New("the removed records do not ascend by client")
		}
	}
	for i, l := range c.Leases {
		if i > 0 && bytes.Compare(c.Leases[i-1].id().key(), l.id().key()) >= 0 {
			return errors.New("the leases do not ascend by client, service and peer")
		}
	}
	if len(c.Leases) > MaxLeases {
		return fmt.Errorf("expected at most %d leases, got %d", MaxLeases, len(c.Leases))
	}
	return nil
}

// identifierOf returns the identifier that a text is. No control character and no invalid
// UTF-8 is part of one.
func identifierOf(text string) (id wire.Identifier, ok bool) {
	notPrintable := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	if len(text) != len(id) || notPrintable {
		return id, false
	}
	copy(id[:], text)
	return id, true
}

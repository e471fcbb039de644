package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// nonceRecord is the record of used nonces: the entries of each client, one for each
// secret.
type nonceRecord struct {
	cfg     *config.Config
	entries map[wire.Identifier][]sessions.Entry
}

// readRecord returns the record; empty: there is none yet. With an error it returns
// what is still readable.
func readRecord(ctx context.Context, cfg *config.Config) (nonceRecord, error) {
	contents, err := readState(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	record := nonceRecord{cfg, map[wire.Identifier][]sessions.Entry{}}
	for _, e := range contents.Entries {
		record.entries[e.Identifier] = append(record.entries[e.Identifier], e)
	}
	return record, err
}

// of returns the entries of a client with a secret. An entry of an earlier format
// names no secret, and counts for each.
func (r nonceRecord) of(id wire.Identifier, secret []byte) (entries []sessions.Entry) {
	fingerprint, err := verify.FingerprintOf(r.cfg.ClientKey(secret))
	if err != nil {
		return nil
	}
	for _, e := range r.entries[id] {
		if e.Secret == fingerprint || e.Secret == 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// highestNonce returns the highest nonce that a client has used with its current
// secret; 0: none.
func (r nonceRecord) highestNonce(c clients.Client) (highest uint32) {
	if c.Previous == nil {
		highest = c.HighestNonce
	}
	for _, e := range r.of(c.Identifier, c.Secret) {
		highest = max(highest, e.HighestNonce, 1) // 0 means that none was used
	}
	return highest
}

// lastOpened returns the latest stamp of a client's knocks that opened something.
func (r nonceRecord) lastOpened(c clients.Client) (stamp uint32, opened bool) {
	for _, secret := range [][]byte{c.Secret, c.Previous} {
		for _, e := range r.of(c.Identifier, secret) {
			stamp, opened = max(stamp, e.Stamp), true
		}
	}
	return stamp, opened
}

// raiseHighestNonce raises the highest nonce of a client to that in the record, so
// that a new profile begins above all nonces that the client has used with its
// secret.
func raiseHighestNonce(ctx context.Context, cfg *config.Config, c *clients.Client) error {
	record, err := readRecord(ctx, cfg)
	if err != nil {
		return fmt.Errorf("find the nonces that client %s has used: %w", c.Identifier, err)
	}
	c.HighestNonce = record.highestNonce(*c)
	return nil
}

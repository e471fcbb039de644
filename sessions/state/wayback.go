package state

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/replay"
)

// The formats that Format writes.
const (
	EarliestFormat = 2
	LatestFormat   = version
)

// Format returns a state file of a format, from EarliestFormat to LatestFormat, with this
// content. Releases with this format start from it. leftOut is the number of leases that
// the first of these releases cannot read: those for a prefix of IPv4, and for any address.
//
// The start refuses what a start after a loss refuses, because the server may have used
// nonces after the content was read.
func Format(c Contents, form uint32) (text []byte, leftOut int, err error) {
	if form < EarliestFormat || form > LatestFormat {
		return nil, 0, fmt.Errorf("expected a format from %d to %d, got %d", EarliestFormat, LatestFormat, form)
	}
	h := headerAfter(c)
	to := contents{entries: slices.Clone(c.Entries), removed: c.removed}
	for _, l := range c.Leases {
		if earlierReads(l.Peer) {
			to.leases = append(to.leases, l)
		}
	}
	if form == 2 {
		to.entries = ofClients(c.Entries)
		// The format has no stamps of removed records: they become one of all clients.
		for _, r := range c.removed {
			h.lostUntil = max(h.lostUntil, r.until)
		}
		to.removed = nil
	}
	dir, err := os.MkdirTemp("", "sallyport-state-")
	if err != nil {
		return nil, 0, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, FileName)
	if err := writeForm(path, form, h, to); err != nil {
		return nil, 0, err
	}
	text, err = os.ReadFile(path)
	return text, len(c.Leases) - len(to.leases), err
}

// headerAfter returns the header of a file that is made from a content: that after a loss,
// with the time up to which the content lacks nonces already.
func headerAfter(c Contents) header {
	h := headerAfterLoss
	if !c.Gap.LostUntil.IsZero() {
		h.lostUntil = seconds(c.Gap.LostUntil)
	}
	return h
}

// ofClients returns one entry for each client, which names no secret: a nonce is used if it
// is used with any of the secrets.
func ofClients(entries []sessions.Entry) (list []sessions.Entry) {
	for _, e := range entries {
		e.Secret = 0
		last := len(list) - 1
		if last < 0 || list[last].Identifier != e.Identifier {
			list = append(list, e)
			continue
		}
		was := &list[last]
		w := replay.Recorded(was.HighestNonce, was.Ring)
		w.Merge(replay.Recorded(e.HighestNonce, e.Ring))
		was.HighestNonce, was.Stamp = max(was.HighestNonce, e.HighestNonce), max(was.Stamp, e.Stamp)
		was.Ring = w.Ring()
	}
	return list
}

// earlierReads reports whether all releases with leases in their state file read one for a
// peer.
func earlierReads(p access.Peer) bool {
	return p != access.AnyAddress && (p.Prefix.IsSingleIP() || p.Prefix.Addr().Is6() || p.IsAnyone())
}

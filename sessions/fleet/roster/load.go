package roster

import (
	"context"
	"fmt"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/wire"
)

// Head returns which list etcd has, by one read. Its errors are those of Load, except that
// it does not see altered entries.
func (r *Roster) Head(ctx context.Context) (Mark, error) {
	s, err := r.readManifest(ctx)
	if err != nil {
		return Mark{}, err
	}
	_, err = r.floor.check(s.manifest)
	return s.manifest.history[0], err
}

// Load returns the list, and which one it is. It is one that an editor has written, as of one
// revision. Its errors are ErrNone, KeyError, AlteredError, NotNewerError (only with
// Config.Dir), and those of etcd. The caller owns the lines.
func (r *Roster) Load(ctx context.Context) (list []Entry, mark Mark, err error) {
	s, err := r.read(ctx)
	if err != nil {
		return nil, mark, err
	}
	if _, err := r.floor.check(s.manifest); err != nil {
		return nil, mark, err
	}
	return s.list, s.manifest.history[0], nil
}

// snapshot is a complete list.
type snapshot struct {
	value    []byte // of the manifest; nil: there is none
	revision int64  // of etcd; 0: it is not known
	manifest manifest
	sealer   *sealer
	list     []Entry
	mirror   *mirror
	pages    [][]byte // that hold the lines
}

// readManifest reads the manifest. The snapshot has value and revision also with an error
// that is not etcd's.
func (r *Roster) readManifest(ctx context.Context) (s snapshot, err error) {
	got, err := r.cfg.Cluster.Get(ctx, r.listKey())
	if err != nil {
		return s, err
	}
	s.revision = got.Header.Revision
	if s.value = valueOf(got.Kvs); s.value == nil {
		return s, ErrNone
	}
	s.manifest, s.sealer, err = r.key().openManifest(s.value)
	return s, err
}

// read reads the list, all at one revision. The snapshot has value and revision also with
// an error that is not etcd's.
func (r *Roster) read(ctx context.Context) (s snapshot, err error) {
	if s, err = r.readManifest(ctx); err != nil {
		return s, err
	}
	err = r.readEntries(ctx, &s)
	return s, err
}

// readEntries reads the entries of a manifest. It ends with the first one that is wrong, so that
// an attacker who adds entries takes no memory.
func (r *Roster) readEntries(ctx context.Context, s *snapshot) error {
	count := int(s.manifest.count)
	s.mirror = newMirror(count)
	s.list = make([]Entry, 0, count)
	_, err := r.cfg.Cluster.Scan(ctx, root+s.manifest.generation.String()+"/", s.revision, func(page []cluster.Change) error {
		size := 0
		for _, c := range page {
			size += len(c.Value)
		}
		b := make([]byte, 0, size)
		s.pages = append(s.pages, b)
		for _, c := range page {
			if len(c.Key) != len(wire.Identifier{}) {
				return &AlteredError{"a key is none of a client"}
			}
			id := wire.Identifier([]byte(c.Key))
			if len(s.list) == count {
				return &AlteredError{fmt.Sprintf("it has more than %d entries", count)}
			}
			from := len(b)
			var err error
			if b, err = s.sealer.open(b, id, c.Value); err != nil {
				return &AlteredError{fmt.Sprintf("the entry of client %q does not open", id.String())}
			}
			s.mirror.set(id, s.sealer.code(id, c.Value))
			s.list = append(s.list, Entry{id, b[from:len(b):len(b)]})
		}
		return nil
	})
	if err == nil && !s.mirror.matches(s.manifest) {
		err = mismatch(s.mirror, s.manifest)
	}
	if err != nil {
		s.wipe()
		s.list, s.mirror = nil, nil
	}
	return err
}

// mismatch is the error of entries that are not those of their manifest.
func mismatch(m *mirror, of manifest) error {
	if n := uint32(len(m.codes)); n != of.count {
		return &AlteredError{fmt.Sprintf("it has %d entries, its manifest has %d", n, of.count)}
	}
	return &AlteredError{"an entry is not the newest one of its client"}
}

// wipe overwrites the lines.
func (s *snapshot) wipe() {
	for _, b := range s.pages {
		clear(b[:cap(b)])
	}
	s.pages = nil
}

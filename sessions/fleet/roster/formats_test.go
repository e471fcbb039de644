package roster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/formattest"
)

// TestLaterList: a list of a later version is refused with its version, that of this release,
// and what to do. It is not taken for an altered one, which a command would replace.
func TestLaterList(t *testing.T) {
	file, key := vectors(t)
	for _, v := range file.Vectors {
		if !strings.HasPrefix(v.Result, "version ") {
			continue
		}
		good := unhex(t, v.Manifest)
		if good[0] != manifestFormat {
			t.Errorf("%s has format %d", v.ID, good[0])
		}
		for _, later := range [][]byte{append([]byte{manifestFormat + 1}, good[1:]...), append([]byte{manifestFormat + 1}, good[1:headerSize]...)} {
			m, s, err := key.openManifest(later)
			newer, ok := errors.AsType[*cluster.VersionError](err)
			if !ok || isA[*AlteredError](err) || newer.Found != manifestFormat+1 || newer.Latest != manifestFormat || s != nil || m.history != nil {
				t.Errorf("%s: %v", v.ID, err)
			}
			if !strings.Contains(err.Error(), "remove the key clients/list from etcd") {
				t.Errorf("the error names no way back: %v", err)
			}
		}
		// Garbage with another ID of a key is that of an attacker.
		garbage := append([]byte{manifestFormat + 1}, good[1:]...)
		garbage[1] ^= 1
		for _, value := range [][]byte{garbage, garbage[:headerSize-1], {manifestFormat + 1}, nil} {
			if _, _, err := key.openManifest(value); !isA[*AlteredError](err) {
				t.Errorf("%x: %v", value, err)
			}
		}
	}
}

// TestDamagedLists: no part of a manifest, and none with a wrong bit, opens. No part of an
// entry, and none with a wrong bit, opens.
func TestDamagedLists(t *testing.T) {
	file, key := vectors(t)
	for _, v := range file.Vectors {
		_, s, err := key.openManifest(unhex(t, v.Manifest))
		if err != nil || !strings.HasPrefix(v.Result, "version ") {
			continue
		}
		formattest.File{Text: unhex(t, v.Manifest)}.EachDamage(1, func(text []byte) {
			if m, _, err := key.openManifest(text); err == nil {
				t.Errorf("%s: %x opens as %+v", v.ID, text, m)
			}
		})
		for name, value := range v.Entries {
			_, id, _ := parseName(name)
			formattest.File{Text: unhex(t, value)}.EachDamage(1, func(text []byte) {
				if line, err := s.open(nil, id, slices.Clone(text)); err == nil {
					t.Errorf("%s: %x opens as %s", v.ID, text, line)
				}
			})
		}
	}
}

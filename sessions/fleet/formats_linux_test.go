package fleet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/formattest"
	"sallyport/verify/verifytest"
)

// valid returns the values of the vectors, which are kept, of each version.
func valid(t *testing.T) (list [][]byte) {
	t.Helper()
	have := map[byte]bool{}
	for _, v := range vectors(t) {
		b, err := hex.DecodeString(v.Value)
		if err != nil {
			t.Fatal(err)
		}
		if v.Valid {
			list, have[b[0]] = append(list, b), true
		}
	}
	for v := byte(1); v <= version; v++ {
		if !have[v] {
			t.Errorf("no vector has version %d", v)
		}
	}
	return list
}

// keptUses returns a count of an operation of each version.
func keptUses(t *testing.T, v int) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimSpace(string(formattest.Files(t, v, ".hex")[0].Text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFormatsSoFar(t *testing.T) {
	for v := 1; v <= version; v++ {
		tag, used, err := parseUses(keptUses(t, v))
		if err != nil || tag != 0x0102030405060708 || used != 3 {
			t.Errorf("uses of version %d: %x, %d, %v", v, tag, used, err)
		}
	}
	valid(t) // TestVectors reads them
}

// TestLaterValue: a value of a later version is refused with its version, that of this
// release, and what to do.
func TestLaterValue(t *testing.T) {
	values := append(valid(t), keptUses(t, version))
	for i, b := range values {
		for _, later := range [][]byte{
			append([]byte{version + 1}, b[1:]...), append([]byte{version + 1}, append(b[1:], 7)...), {version + 1}, append([]byte{255}, b[1:]...),
		} {
			_, err := parse(later)
			if i == len(values)-1 {
				_, _, err = parseUses(later)
			}
			newer, ok := errors.AsType[*cluster.VersionError](err)
			if !ok || newer.Found != int(later[0]) || newer.Latest != version || !strings.Contains(err.Error(), "update this one, or go back with all of them") {
				t.Errorf("%x: %v", later, err)
			}
		}
	}
}

// TestDamagedValues: no part of a value is a value, and one with a wrong bit is refused or
// is another value in its one encoding. Etcd has checksums against these.
func TestDamagedValues(t *testing.T) {
	for _, b := range valid(t) {
		formattest.File{Text: b}.EachDamage(1, func(text []byte) {
			v, err := parse(text)
			if err == nil && ((len(text)-headerSize)%recordSize != 0 || !bytes.Equal(v.append(nil), text)) {
				t.Errorf("%x is read as %+v", text, v)
			}
		})
	}
	formattest.File{Text: keptUses(t, version)}.EachDamage(1, func(text []byte) {
		if tag, used, err := parseUses(text); err == nil && encodeUses(tag, used) != string(text) {
			t.Errorf("%x is read as %d uses", text, used)
		}
	})
}

// TestLaterGateway: while etcd has a client's record, or the count of an operation, of a later
// release, nothing opens by them at this one, and they stay as they are. Others are not
// affected. When the later release is gone, the client opens again.
func TestLaterGateway(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	j := openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { j.Close() })
	entry := func(id string, base uint32) sessions.Entry {
		return sessions.Entry{Identifier: verifytest.ID(id), Secret: 7, Base: base, Count: 3, Stamp: uint32(wall().Unix())}
	}
	if errs := j.Record([]sessions.Entry{entry("com1", 1), entry("com2", 1)}); errs != nil {
		t.Fatal(errs)
	}
	key, uses := j.key(verifytest.ID("com1")), j.usesKey("guest", 5)
	was, err := e.Root().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	good := was.Kvs[0].Value
	later := append([]byte{version + 1}, append(bytes.Clone(good[1:]), 0, 0)...)
	laterUses := append([]byte{version + 1}, keptUses(t, version)[1:]...)
	for k, value := range map[string][]byte{key: later, uses: laterUses} {
		if _, err := e.Root().Put(t.Context(), k, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	errs := j.Record([]sessions.Entry{entry("com1", 10), entry("com2", 10)})
	if len(errs) != 2 || !errors.Is(errs[0], errUnreadable) || errs[1] != nil {
		t.Errorf("record: %v", errs)
	}
	if recorded, err := j.Recorded(t.Context(), verifytest.ID("com1"), 7, 10, 3); recorded || err != nil {
		t.Errorf("the nonces are recorded: %v, %v", recorded, err)
	}
	if taken, _, err := j.TakeUses("guest", 5, 0, 9, 1); err == nil || taken != 0 || j.ResetUses("guest", 5) == nil {
		t.Errorf("%d uses, %v", taken, err)
	}
	for k, value := range map[string][]byte{key: later, uses: laterUses} {
		now, err := e.Root().Get(t.Context(), k)
		if err != nil || len(now.Kvs) != 1 || !bytes.Equal(now.Kvs[0].Value, value) {
			t.Errorf("%q has changed: %v, %v", k, now, err)
		}
	}
	if _, err := e.Root().Put(t.Context(), key, string(good)); err != nil {
		t.Fatal(err)
	}
	if errs := j.Record([]sessions.Entry{entry("com1", 20)}); errs != nil {
		t.Errorf("after the way back: %v", errs)
	}
}

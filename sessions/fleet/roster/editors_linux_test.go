package roster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestEditors: what editors do to the list.
func TestEditors(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"no list", testNone},
		{"one after the other", testSequence},
		{"two at once", testTwoEditors},
		{"a lost answer", testLostAnswer},
		{"all or nothing", testLimits},
		{"killed while it replaces", testKilled},
		{"two replace", testTwoReplace},
		{"changed while it replaces", testReplaceAt},
		{"changed while it is read", testGrows},
		{"another key", testRotateKey},
		{"the manifest is lost", testRepair},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, newWorld(t, e))
		})
	}
}

func testNone(t *testing.T, w *world) {
	r := w.open(t, "")
	if _, _, err := r.Load(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("Load: %v", err)
	}
	if err := r.set(t.Context(), lists{"com1": "one"}); !errors.Is(err, ErrNone) {
		t.Errorf("Edit: %v", err)
	}
	g := w.follow(t, "")
	wait(t, "the refusal", func() bool { return errors.Is(g.Stats().Refusal, ErrNone) })
	r.replaceBy(t, lists{})
	wait(t, "an empty list", func() bool { return g.Stats().Version > 0 })
	if s := g.Stats(); s.Clients != 0 || s.Applied != 1 || s.Refusal != nil {
		t.Errorf("%+v", s)
	}
}

// testSequence: each change raises the version by one, and the gateway gets only the change.
func testSequence(t *testing.T, w *world) {
	r := w.open(t, "")
	want := lists{"a///": "1", "com1": "one", "com2": "two"}
	r.replaceBy(t, want)
	g := w.follow(t, "")
	g.expect(t, "the list", want)
	_, first, err := r.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []lists{{"com3": "three"}, {"com1": ""}, {"com1": "again", "com2": "other", "a///": ""}} {
		r.put(t, step)
		for k, line := range step {
			if want[k] = line; line == "" {
				delete(want, k)
			}
		}
		g.expect(t, "a change", want)
		got, mark, err := r.Load(t.Context())
		head, headErr := r.Head(t.Context())
		if err != nil || headErr != nil || mark.Version != first.Version+uint64(i)+1 || head != mark || len(got) != len(want) {
			t.Errorf("%v and %v, want version %d; %v, %v", mark, head, first.Version+uint64(i)+1, err, headErr)
		}
	}
	r.put(t, lists{"com2": "other", "com9": ""}) // changes nothing
	if _, mark, _ := r.Load(t.Context()); mark.Version != first.Version+3 {
		t.Errorf("version %d after no change, want %d", mark.Version, first.Version+3)
	}
	if g.whole != 1 || g.calls != 4 {
		t.Errorf("%d calls, %d of them with the whole list", g.calls, g.whole)
	}
}

// testTwoEditors: no change of two editors is lost.
func testTwoEditors(t *testing.T, w *world) {
	a, b := w.open(t, ""), w.open(t, "")
	a.replaceBy(t, lists{"both": "0"})
	g := w.follow(t, "")
	const each = 8
	var wg sync.WaitGroup
	for _, r := range []*Roster{a, b} {
		wg.Go(func() {
			for range each {
				err := r.Edit(t.Context(), []wire.Identifier{id("both")}, func(now map[wire.Identifier][]byte) ([]Change, error) {
					return []Change{{id("both"), append(now[id("both")], '+')}}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := lists{"both": "0" + strings.Repeat("+", 2*each)}
	if got := a.get(t); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	g.expect(t, "all changes", want)
}

// testLostAnswer: an editor that sends its transaction again recognises the first copy,
// also if another editor has gone on since.
func testLostAnswer(t *testing.T, w *world) {
	a, b := w.open(t, ""), w.open(t, "")
	a.replaceBy(t, lists{"com1": "one"})
	s, err := a.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := s.manifest.next(s.manifest.version()+1, time.Now())
	for i, want := range []bool{true, true, true} {
		if done, err := a.write(t.Context(), s.value, m, s.sealer, nil, nil); done != want || err != nil {
			t.Errorf("copy %d: %v, %v", i, done, err)
		}
		b.put(t, lists{"com1": fmt.Sprint(i)})
	}
	other := s.manifest.next(s.manifest.version()+1, time.Now())
	if done, err := a.write(t.Context(), s.value, other, s.sealer, nil, nil); done || err != nil {
		t.Errorf("another change: %v, %v", done, err)
	}
}

// testLimits: an Edit that is refused changes nothing.
func testLimits(t *testing.T, w *world) {
	r := w.open(t, "")
	want := lists{"com1": "one"}
	r.replaceBy(t, want)
	ours := errors.New("ours")
	ids := []wire.Identifier{id("com1"), id("com2")}
	for name, changes := range map[string][]Change{
		"another client":  {{id("com2"), []byte("x")}, {id("com3"), []byte("x")}},
		"twice":           {{id("com2"), []byte("x")}, {id("com2"), []byte("y")}},
		"an empty line":   {{id("com2"), []byte("x")}, {id("com1"), []byte{}}},
		"a line too long": {{id("com2"), []byte("x")}, {id("com1"), make([]byte, MaxLine+1)}},
		"its own error":   nil,
	} {
		err := r.Edit(t.Context(), ids, func(map[wire.Identifier][]byte) ([]Change, error) {
			if changes == nil {
				return nil, ours
			}
			return changes, nil
		})
		if err == nil || changes == nil && err != ours {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Edit(t.Context(), make([]wire.Identifier, MaxChanges+1), nil); err == nil {
		t.Error("too many clients")
	}
	for name, list := range map[string][]Entry{
		"twice": {{id("com1"), []byte("x")}, {id("com1"), []byte("x")}},
		"empty": {{id("com1"), []byte("x")}, {id("com2"), nil}},
	} {
		if err := r.Replace(t.Context(), slices.Values(list)); err == nil {
			t.Errorf("replaced by a list with a client %s", name)
		}
	}
	if got := r.get(t); !maps.Equal(got, want) {
		t.Errorf("has %v", got)
	}
	if all := w.raw(t); len(all) != 2 {
		t.Errorf("%d keys left", len(all))
	}
	// The largest Edit fits into a request.
	large := lists{}
	for i := range MaxChanges {
		large[fmt.Sprintf("%04d", i)] = strings.Repeat("x", MaxLine)
	}
	r.put(t, large)
	if got := r.get(t); len(got) != MaxChanges+1 {
		t.Errorf("%d clients", len(got))
	}
}

// testKilled: an editor that ends at any step of Replace leaves the old list or the new one, and
// the next one removes what is left.
func testKilled(t *testing.T, w *world) {
	w.open(t, "").replaceBy(t, lists{"com0": "first"})
	g := w.follow(t, "")
	for kill := 1; ; kill++ {
		before := w.open(t, "").get(t)
		next := lists{}
		for i := range batchSize + kill {
			next[fmt.Sprintf("%04d", i)] = fmt.Sprint(kill)
		}
		r := w.open(t, "")
		steps := 0
		r.step = func() {
			if steps++; steps == kill {
				runtime.Goexit()
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { r.Replace(context.Background(), next.entries) })
		wg.Wait()
		switched := len(w.raw(t)[claimName]) == 0 && kill > 1
		want := before
		if switched {
			want = next
		}
		if got := w.open(t, "").get(t); !maps.Equal(got, want) {
			t.Fatalf("killed at step %d: the list has %d clients, want %d", kill, len(got), len(want))
		}
		g.expect(t, "the list in force", want)
		if steps < kill {
			break
		}
	}
	last := lists{"com1": "last"}
	w.open(t, "").replaceBy(t, last)
	if all := w.raw(t); len(all) != 2 {
		t.Errorf("%d keys left", len(all))
	}
	g.expect(t, "the last list", last)
}

// testTwoReplace: of two that replace at once, the later one wins, and the other one fails.
func testTwoReplace(t *testing.T, w *world) {
	a, b := w.open(t, ""), w.open(t, "")
	a.replaceBy(t, lists{"com0": "0"})
	steps := 0
	a.step = func() {
		if steps++; steps == 2 { // after the claim
			b.replaceBy(t, lists{"com2": "b"})
		}
	}
	if err := a.Replace(t.Context(), lists{"com1": "a"}.entries); !errors.Is(err, ErrReplacing) {
		t.Errorf("the earlier one: %v", err)
	}
	if got := a.get(t); !maps.Equal(got, lists{"com2": "b"}) {
		t.Errorf("has %v", got)
	}
	if all := w.raw(t); len(all) != 2 {
		t.Errorf("%d keys left", len(all))
	}
}

// testRepair: whatever an attacker has made of the manifest, the operator can write the list
// again, and all gateways accept it.
func testRepair(t *testing.T, w *world) {
	r := w.open(t, "")
	r.replaceBy(t, lists{"com0": "0"})
	g := w.follow(t, t.TempDir())
	g.expect(t, "the list", lists{"com0": "0"})
	for i, value := range []string{"x", "", strings.Repeat("x", 1000)} {
		w.attack(t, map[string]string{listName: value})
		if _, _, err := r.Load(t.Context()); err == nil {
			t.Errorf("%q: no error", value)
		}
		want := lists{"com1": fmt.Sprint(i)}
		r.replaceBy(t, want)
		g.expect(t, "the list written again", want)
		if all := w.raw(t); len(all) != 2 {
			t.Errorf("%d keys left", len(all))
		}
	}
}

func testReplaceAt(t *testing.T, w *world) {
	a, b := w.open(t, ""), w.open(t, "")
	a.replaceBy(t, lists{"com0": "0"})
	_, mark, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	a.step = func() {
		if steps++; steps == 2 {
			b.put(t, lists{"com1": "1"})
		}
	}
	if err := a.ReplaceAt(t.Context(), mark.Version, lists{"com2": "2"}.entries); !errors.Is(err, ErrChanged) {
		t.Errorf("changed meanwhile: %v", err)
	}
	if got := a.get(t); !maps.Equal(got, lists{"com0": "0", "com1": "1"}) {
		t.Errorf("has %v", got)
	}
	if err := a.ReplaceAt(t.Context(), mark.Version+1, lists{"com2": "2"}.entries); err != nil {
		t.Errorf("the version that it has: %v", err)
	}
	if all := w.raw(t); len(all) != 2 {
		t.Errorf("%d keys left", len(all))
	}
}

// testGrows: a list is read as of one revision.
func testGrows(t *testing.T, w *world) {
	r := w.open(t, "")
	r.replaceBy(t, lists{"com1": "one", "com2": "two"})
	s, err := r.readManifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.put(t, lists{"com0": "zero", "com1": "other", "com2": "", "com3": "three"})
	if err := r.readEntries(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.list) != 2 || string(s.list[0].Line) != "one" || string(s.list[1].Line) != "two" {
		t.Errorf("read %q", s.list)
	}
	s.wipe()
	if string(s.list[0].Line) != "\x00\x00\x00" {
		t.Error("a line is not overwritten")
	}
}

// testRotateKey: gateways with both keys follow through the change of the key.
func testRotateKey(t *testing.T, w *world) {
	path := t.TempDir() + "/key"
	if err := NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	read := func() Key {
		k, err := ReadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	w.key = read()
	before := w.open(t, "")
	before.replaceBy(t, lists{"com1": "one"})
	if err := RotateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	if err := RotateKeyFile(path); err == nil {
		t.Error("a third key")
	}
	w.key = read()
	g := w.follow(t, "")
	both := w.open(t, "")
	both.put(t, lists{"com2": "two"}) // still with the old key
	if got := before.get(t); len(got) != 2 {
		t.Errorf("with the old key only: %v", got)
	}
	if err := both.Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := before.Load(t.Context()); !isA[*KeyError](err) {
		t.Errorf("with the old key only: %v", err)
	}
	if err := DropOldKey(path); err != nil {
		t.Fatal(err)
	}
	w.key = read()
	w.open(t, "").put(t, lists{"com3": "three"})
	g.expect(t, "all changes", lists{"com1": "one", "com2": "two", "com3": "three"})
}

package roster

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
)

// TestAttacks: a user of etcd without the key changes nothing at a gateway, nor for one
// that starts, and the gateway goes on when the list is right again.
func TestAttacks(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	before := lists{"com1": "one old", "com2": "two", "com3": "three"}
	after := lists{"com1": "one new", "com2": "two"}
	for _, attack := range []struct {
		name string
		// change returns keys to write: old and now are those of before and after.
		change func(old, now map[string]string, name func(string) string) map[string]string
	}{
		{"an old entry put back", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{name("com1"): old[name("com1")]}
		}},
		{"a removed entry put back", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{name("com3"): old[name("com3")]}
		}},
		{"a removed entry put in the place of another one", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{name("com3"): old[name("com3")], name("com2"): ""}
		}},
		{"an entry copied to another identifier", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{name("com2"): now[name("com1")]}
		}},
		{"an entry dropped", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{name("com2"): ""}
		}},
		{"a bit turned", func(old, now map[string]string, name func(string) string) map[string]string {
			v := []byte(now[name("com2")])
			v[len(v)-1] ^= 1
			return map[string]string{name("com2"): string(v)}
		}},
		{"a key that is none of a client", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{name("com2/"): now[name("com2")]}
		}},
		{"garbage as the manifest", func(old, now map[string]string, name func(string) string) map[string]string {
			return map[string]string{listName: "x"}
		}},
		{"a bit of the manifest turned", func(old, now map[string]string, name func(string) string) map[string]string {
			v := []byte(now[listName])
			v[len(v)-1] ^= 1
			return map[string]string{listName: string(v)}
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, e)
			editor := w.open(t, "")
			editor.replaceBy(t, before)
			old := w.raw(t)
			g := w.follow(t, t.TempDir())
			g.expect(t, "the first list", before)
			editor.put(t, lists{"com1": "one new", "com3": ""})
			g.expect(t, "the change", after)
			now := w.raw(t)
			change := attack.change(old, now, func(client string) string { return entryName(t, now, client) })
			w.attack(t, change)
			refused[*AlteredError](t, g, "the attack", after)
			if _, _, err := editor.Load(t.Context()); !isA[*AlteredError](err) {
				t.Errorf("Load: %v", err)
			}
			late := w.follow(t, t.TempDir())
			refused[*AlteredError](t, late, "a gateway that starts", lists{})

			undo := map[string]string{}
			for name := range change {
				undo[name] = now[name]
			}
			w.attack(t, undo)
			wait(t, "the list is right again", func() bool { return g.Stats().Refusal == nil })
			editor.put(t, lists{"com4": "four"})
			g.expect(t, "the next change", lists{"com1": "one new", "com2": "two", "com4": "four"})
			late.expect(t, "the next change at the late gateway", lists{"com1": "one new", "com2": "two", "com4": "four"})
			if text := w.log.text(); strings.Contains(text, "one old") || strings.Contains(text, "two") {
				t.Errorf("a line in the log:\n%s", text)
			}
		})
	}
}

// TestRollBack: all keys put back as they were are refused, by a gateway that runs and by
// one that has been restarted, also when an editor builds on them; and a whole new list
// ends that.
func TestRollBack(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, e)
	editor := w.open(t, "")
	editor.replaceBy(t, lists{"com1": "secret"})
	old := w.raw(t)
	dir := t.TempDir()
	g := w.follow(t, dir)
	g.expect(t, "the first list", lists{"com1": "secret"})
	revoked := lists{"com2": "two"}
	editor.put(t, lists{"com1": "", "com2": "two"})
	g.expect(t, "the revocation", revoked)
	now := w.raw(t)
	back := maps.Clone(old)
	back[entryName(t, now, "com2")] = ""
	w.attack(t, back)
	refused[*NotNewerError](t, g, "all put back", revoked)
	if !g.Stats().Held {
		t.Error("not held")
	}
	g.stop()

	// The gateway starts again, with its file.
	g = w.follow(t, dir)
	refused[*NotNewerError](t, g, "after a restart", lists{})
	if _, _, err := w.open(t, dir).Load(t.Context()); !isA[*NotNewerError](err) {
		t.Errorf("a command at the gateway: %v", err)
	}
	if err := w.open(t, dir).set(t.Context(), lists{"com3": "three"}); !isA[*NotNewerError](err) {
		t.Errorf("a change at the gateway: %v", err)
	}

	// An editor elsewhere cannot know it, and goes on: more versions than a manifest names.
	for range maxHistory + 2 {
		editor.put(t, lists{"com4": "four"})
		editor.put(t, lists{"com4": ""})
	}
	refused[*NotNewerError](t, g, "versions above", lists{})

	// The operator writes the list again.
	editor.replaceBy(t, revoked)
	g.expect(t, "a whole list", revoked)
	if s := g.Stats(); s.Held || s.Refusal != nil {
		t.Errorf("%+v", s)
	}

	// Or accepts it.
	whole := w.raw(t)
	editor.put(t, lists{"com5": "five"})
	g.expect(t, "a change", lists{"com2": "two", "com5": "five"})
	whole[entryName(t, whole, "com5")] = ""
	w.attack(t, whole)
	refused[*NotNewerError](t, g, "put back again", lists{"com2": "two", "com5": "five"})

	// An accept that fails is none: also not of the list that etcd has later.
	w.attack(t, map[string]string{listName: "x"})
	refused[*AlteredError](t, g, "garbage", lists{"com2": "two", "com5": "five"})
	if err := g.Accept(t.Context()); !isA[*AlteredError](err) {
		t.Errorf("garbage was accepted: %v", err)
	}
	w.way.Each((*etcdtest.Path).Cut)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := g.Accept(short); !isA[*cluster.UnavailableError](err) {
		t.Errorf("accepted without etcd: %v", err)
	}
	w.attack(t, whole)
	w.way.Each((*etcdtest.Path).Heal)
	refused[*NotNewerError](t, g, "put back after accepts that failed", lists{"com2": "two", "com5": "five"})
	if err := g.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.expect(t, "accepted", revoked)
	if s := g.Stats(); s.Held {
		t.Errorf("%+v", s)
	}
	if err := g.Accept(t.Context()); err != nil { // the list that it has
		t.Fatal(err)
	}
	wait(t, "the floor", func() bool { return g.floor.get().Version == g.Stats().Version })
}

// TestWrongKey: a gateway with another key applies nothing, and the error has both names.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, e)
	editor := w.open(t, "")
	editor.replaceBy(t, lists{"com1": "one"})
	right := w.key.IDs()[0]
	w.key = testKey(t)
	g := w.follow(t, t.TempDir())
	refused[*KeyError](t, g, "another key", lists{})
	text := g.Stats().Refusal.Error()
	if !strings.Contains(text, right) || !strings.Contains(text, w.key.IDs()[0]) {
		t.Errorf("%q does not name both keys", text)
	}
	wrong := w.open(t, "")
	if err := wrong.set(t.Context(), lists{"com2": "two"}); !isA[*KeyError](err) {
		t.Errorf("Edit: %v", err)
	}
	if err := wrong.Replace(t.Context(), lists{}.entries); !isA[*KeyError](err) {
		t.Errorf("Replace: %v", err)
	}
	if got := editor.get(t); !maps.Equal(got, lists{"com1": "one"}) {
		t.Errorf("has %v", got)
	}
}

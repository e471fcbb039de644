package gate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// TestCommandsTogether: commands of different addresses that are executed
// together leave the enforcers in the same state as one after the other, with
// two calls of each enforcer.
func TestCommandsTogether(t *testing.T) {
	type gateOf struct {
		*Services
		enforcers map[string]*recorded
	}
	build := func(t *rapid.T, anyone bool) (g gateOf) {
		g.enforcers = map[string]*recorded{"web": {}, "ssh": {}, "wall": {}}
		var list []*Service
		for _, name := range []string{"web", "ssh"} {
			s := serviceOf(name, 128, g.enforcers[name], g.enforcers["wall"])
			s.clock.Boot = func() time.Time { return epoch }
			s.terms.Anyone, s.anyone, s.knockers = anyone, anyone, !anyone
			list = append(list, s)
		}
		var err error
		g.Services, err = NewServices(list, maps.All(map[wire.Identifier][]access.ServiceID{client(3): {access.ID("web")}}))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	rapid.Check(t, func(t *rapid.T) {
		anyone := rapid.Bool().Draw(t, "anyone")
		one, all := build(t, anyone), build(t, anyone)
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			var commands []Command
			for i := range rapid.IntRange(1, 12).Draw(t, "commands") {
				o := Command{
					Service: access.ID(rapid.SampledFrom([]string{"web", "ssh", "ftp"}).Draw(t, "service")),
					Grant:   grant(fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client")), fmt.Sprintf("192.0.2.%d", i)),
				}
				if rapid.Bool().Draw(t, "close") {
					o.Action = Close
				} else {
					o.For = time.Duration(rapid.IntRange(-1, 90).Draw(t, "for")) * time.Second
				}
				commands = append(commands, o)
			}
			before := all.enforcers["wall"].calls
			errs := all.ExecuteAll(commands)
			if n := all.enforcers["wall"].calls - before; n > 2 {
				t.Fatalf("%d calls for %d commands", n, len(commands))
			}
			// Commands that close are executed first.
			inOrder := slices.Clone(commands)
			slices.SortStableFunc(inOrder, func(a, b Command) int { return int(b.Action) - int(a.Action) })
			for _, o := range inOrder {
				want, i := one.Execute(o), slices.Index(commands, o)
				if (errs == nil || errs[i] == nil) != (want == nil) || want != nil && errs[i].Error() != want.Error() {
					t.Fatalf("%+v: %v, want %v", o, errs, want)
				}
			}
		}
		for _, name := range []string{"web", "ssh"} { // wall does not distinguish them
			if got, want := all.enforcers[name].open, one.enforcers[name].open; !maps.Equal(got, want) {
				t.Fatalf("%s has %v, want %v", name, got, want)
			}
		}
	})
}

// TestFailedCommandAmongOthers: a failed command does not prevent the others.
func TestFailedCommandAmongOthers(t *testing.T) {
	var web, wall recorded
	one := serviceOf("web", 128, &web, &wall)
	s, err := NewServices([]*Service{one}, nil)
	if err != nil {
		t.Fatal(err)
	}
	open := func(a string) Command { return Command{Service: one.ID(), Grant: grant("com1", a)} }
	if errs := s.ExecuteAll([]Command{open("192.0.2.1"), open("192.0.2.2")}); errs != nil {
		t.Fatal(errs)
	}
	wall.fail, wall.fails = errors.New("no room"), func(p access.Peer) bool { return p == peer("192.0.2.3") }
	closing := open("192.0.2.1")
	closing.Action = Close
	errs := s.ExecuteAll([]Command{closing, open("192.0.2.3"), open("192.0.2.4"), {Service: one.ID()}})
	if len(errs) != 4 || errs[0] != nil || !errors.Is(errs[1], wall.fail) || errs[2] != nil || errs[3] == nil {
		t.Errorf("errors %v", errs)
	}
	for name, r := range map[string]*recorded{"web": &web, "wall": &wall} {
		if len(r.open) != 2 || !r.has("192.0.2.2") || !r.has("192.0.2.4") {
			t.Errorf("%s: open %v", name, r.open)
		}
	}
	one.close()
	errs = s.ExecuteAll([]Command{closing, open("192.0.2.3")})
	if !errors.Is(errs[0], ErrClosed) || !errors.Is(errs[1], ErrClosed) {
		t.Errorf("after the end: %v", errs)
	}
}

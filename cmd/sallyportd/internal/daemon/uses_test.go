package daemon

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/capture"
	"sallyport/sessions/gate"
	"sallyport/sessions/handshakes"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

func useKey(id string) state.UseKey { return state.UseKey{Operation: id, Secret: 7} }

func limited(id string, n int) command { return command{operation: id, limit: limit{useKey(id), n}} }

// memoryUses is a record on a disk that a test breaks.
type memoryUses struct {
	*uses
	disk  []state.Use
	fails bool
	after bool // a write that fails has changed the disk nevertheless
}

func (m *memoryUses) restart() {
	m.uses = &uses{write: func(list []state.Use) error {
		if !m.fails || m.after {
			m.disk = slices.Clone(list)
		}
		if m.fails {
			return errors.New("the disk is full")
		}
		return nil
	}}
	m.set(slices.Clone(m.disk))
}

// TestUsesAgainstAModel: whatever fails, and whenever the process dies, an operation is
// executed at most as often as its limit permits; a use is lost only by a crash or an error,
// and by each at most once for each command.
func TestUsesAgainstAModel(t *testing.T) {
	ids := []string{"one", "two", "three"}
	rapid.Check(t, func(t *rapid.T) {
		m := &memoryUses{}
		m.restart()
		limits, granted, lost := map[string]int{}, map[string]int{}, map[string]int{}
		for _, id := range ids {
			limits[id] = rapid.IntRange(1, 6).Draw(t, "limit")
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			m.fails = rapid.IntRange(0, 4).Draw(t, "fails") == 0
			m.after = rapid.Bool().Draw(t, "after")
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0:
				m.restart()
			case 1:
				limits[rapid.SampledFrom(ids).Draw(t, "changed")] = rapid.IntRange(1, 6).Draw(t, "limit")
			case 2:
				id := rapid.SampledFrom(ids).Draw(t, "reset")
				if err := m.reset(useKey(id)); err == nil || m.after {
					// The administrator has asked for it, so a failed one may count.
					granted[id], lost[id] = 0, 0
					m.restart()
				}
			default:
				var commands []command
				asked := map[string]int{}
				for range rapid.IntRange(1, 8).Draw(t, "batch") {
					id := rapid.SampledFrom(ids).Draw(t, "operation")
					asked[id]++
					commands = append(commands, limited(id, limits[id]))
				}
				commands = append(commands, command{operation: "unlimited"})
				errs := m.take(commands)
				dies := rapid.IntRange(0, 4).Draw(t, "dies") == 0
				if errs[len(errs)-1] != nil {
					t.Fatal("an operation without a limit was refused")
				}
				for i, err := range errs[:len(errs)-1] {
					id := commands[i].operation
					switch {
					case err == nil && dies:
						lost[id]++ // it was executed, or not
					case err == nil:
						granted[id]++
					case errors.Is(err, errNoUses):
						if granted[id]+lost[id] < limits[id] && !m.fails {
							t.Fatalf("%s refused after %d of %d uses, %d lost", id, granted[id], limits[id], lost[id])
						}
					case !m.fails:
						t.Fatal(err)
					}
					if err == nil && granted[id] > limits[id] {
						t.Fatalf("%s executed %d times of %d", id, granted[id], limits[id])
					}
				}
				if m.fails && m.after {
					for id, n := range asked {
						lost[id] += n // the disk may have them
					}
				}
				if dies {
					m.restart()
				}
			}
			for _, id := range ids {
				if used := int(m.use(useKey(id)).Used); used < granted[id] {
					t.Fatalf("%s: %d recorded, %d executed", id, used, granted[id])
				}
			}
		}
	})
}

// TestConcurrentResponses: a hundred addresses draw challenges of an operation that has
// three uses left, and then answer all at once; three are executed. After that, neither
// a waiting challenge nor a new request draws anything.
func TestConcurrentResponses(t *testing.T) {
	const clients, left = 100, 3
	request := challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8}
	response := request
	response.Base = 25600
	plan := challenge.Plan{Request: request, Response: response, Ports: challenge.Ports{First: 16384, Last: 30719}}
	protocol, err := exchange.NewOperation("ssh-once", "a secret that is long enough", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	all, err := exchange.NewOperations([]*exchange.Operation{protocol}, plan)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := state.Create(dir); err != nil {
		t.Fatal(err)
	}
	o := operation{Operation: config.Operation{ID: "ssh-once", Service: "ssh", Uses: left}, protocol: protocol, secrets: []verify.Fingerprint{7}}
	keys := []state.UseKey{o.limit().key}
	u, err := loadUses(dir, keys, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var executed atomic.Int32
	c := &challenger{now: time.Now, wall: time.Now, uses: u, proofs: newProofs(time.Now), log: slog.New(slog.DiscardHandler)}
	c.execute = func(commands []command) []error {
		executed.Add(int32(len(commands)))
		return make([]error, len(commands))
	}
	c.operations.Store(&operations{byID: map[string]operation{"ssh-once": o}, protocol: all, limited: keys})
	answers := map[netip.AddrPort][]byte{}
	c.table, err = handshakes.New(handshakes.Config{
		Operations: all, Random: rand.Reader, Allows: c.allows,
		Answer: func(source, _ netip.AddrPort, payload []byte) error {
			answers[source] = slices.Clone(payload)
			return nil
		},
		OnProof: func(g exchange.Proof, from netip.Addr) { c.proofs.put(o, proof{g, from, nil}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddr("198.51.100.1")
	send := func(from netip.AddrPort, e challenge.Encoding, message []byte) {
		codec, err := e.Codec(len(message))
		if err != nil {
			t.Error(err)
			return
		}
		ports, err := codec.AppendPorts(nil, message)
		if err != nil {
			t.Error(err)
		}
		for _, p := range ports {
			c.Take([]capture.Packet{{Source: from, Destination: netip.AddrPortFrom(server, p)}})
		}
	}
	source := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 4000)
	}
	initiate := func(i int) *exchange.Initiator {
		initiator, err := exchange.NewInitiator(protocol, source(i).Addr(), server, [exchange.NonceSize]byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		send(source(i), request, initiator.Request())
		return initiator
	}
	var responses [clients][]byte
	for i := range clients {
		answer, err := initiate(i).Answer(answers[source(i)])
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		responses[i] = answer.Response
	}
	const first = clients - 10 // the others answer later
	var g sync.WaitGroup
	for i := range first {
		g.Go(func() {
			send(source(i), response, responses[i])
			c.executeProofs(c.proofs.take())
		})
	}
	g.Wait()
	c.counting.all.Wait()
	if n := executed.Load(); n != left {
		t.Errorf("executed %d times, want %d", n, left)
	}
	for i := first; i < clients; i++ {
		send(source(i), response, responses[i])
	}
	c.executeProofs(c.proofs.take())
	c.counting.all.Wait()
	clear(answers)
	initiate(200)
	if n := executed.Load(); n != left || len(answers) != 0 {
		t.Errorf("after that: executed %d times, %d challenges", n, len(answers))
	}
	if list, err := state.ReadUses(dir); err != nil || len(list) != 1 || list[0].Used != left {
		t.Errorf("recorded: %v, %v", list, err)
	}
	// With one more use, the same operation draws a challenge again.
	o.Uses++
	c.operations.Store(&operations{byID: map[string]operation{"ssh-once": o}, protocol: all, limited: keys})
	initiate(201)
	if len(answers) != 1 {
		t.Errorf("with a larger limit: %d challenges", len(answers))
	}
}

// TestUsesAreNeverGuessed: a record that is missing, a copy, or damaged makes the
// operations with a limit unavailable, also for later starts; one of a later release
// prevents the start, and stays.
func TestUsesAreNeverGuessed(t *testing.T) {
	one := limit{useKey("one"), 5}
	commands := []command{{operation: "one", limit: one}}
	for name, row := range map[string]struct {
		change func(path string, old []byte) error
		left   int
		log    string
		start  string
	}{
		"none of it": {func(string, []byte) error { return nil }, 3, "", ""},
		"missing":    {func(path string, _ []byte) error { return os.Remove(path) }, 0, "there is no record", ""},
		"older":      {func(path string, old []byte) error { return os.WriteFile(path, old, 0o600) }, 0, "is a copy", ""},
		"damaged":    {func(path string, _ []byte) error { return os.WriteFile(path, []byte("?"), 0o600) }, 0, "is damaged", ""},
		"later": {func(path string, _ []byte) error { return os.WriteFile(path, []byte("{\"version\":2}\n"), 0o600) }, 0, "",
			"has format 2, this release reads formats up to 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, state.UsesFileName)
			var log logText
			load := func() (*uses, error) {
				return loadUses(dir, []state.UseKey{one.key}, slog.New(slog.NewTextHandler(&log, nil)))
			}
			if err := state.Create(dir); err != nil {
				t.Fatal(err)
			}
			u, err := load()
			if err != nil {
				t.Fatal(err)
			}
			if u.left(one) != 5 || u.take(commands)[0] != nil {
				t.Fatal("not executed")
			}
			old, err := os.ReadFile(path)
			if err != nil || u.take(commands)[0] != nil || log.String() != "" {
				t.Fatal(err, log.String())
			}
			if err := row.change(path, old); err != nil {
				t.Fatal(err)
			}
			content, _ := os.ReadFile(path)
			for range 2 {
				u, err = load()
				if row.start != "" {
					after, _ := os.ReadFile(path)
					if err == nil || !strings.Contains(err.Error(), row.start) || string(after) != string(content) {
						t.Fatalf("%v, %q", err, after)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				logged := row.log == "" && log.String() == "" || row.log != "" && strings.Contains(log.String(), row.log)
				if !logged || u.left(one) != row.left {
					t.Fatalf("%d left, log %q", u.left(one), log.String())
				}
			}
			if row.left > 0 {
				return
			}
			if err := u.take(commands)[0]; !errors.Is(err, errNoUses) {
				t.Error(err)
			}
			if why := u.refuses(one); !strings.Contains(why, "may have been used up") {
				t.Errorf("refused because %q", why)
			}
			if u.left(limit{useKey("another"), 1}) != 1 {
				t.Error("an operation that came later is refused")
			}
			if err := u.reset(one.key); err != nil {
				t.Fatal(err)
			}
			if u, err = load(); err != nil || u.left(one) != 5 || u.refuses(one) != "" {
				t.Errorf("after a reset: %v, %d left", err, u.left(one))
			}
		})
	}
}

// TestLimitBelongsToTheSecret: another number of uses does not change the count, and
// another secret begins at zero; the old one finds its count when it returns.
func TestLimitBelongsToTheSecret(t *testing.T) {
	m := &memoryUses{}
	m.restart()
	o := operation{Operation: config.Operation{ID: "one", Uses: 2}, secrets: []verify.Fingerprint{7}}
	do := func() error { return m.take([]command{{limit: o.limit()}})[0] }
	if err := errors.Join(do(), do()); err != nil {
		t.Fatal(err)
	}
	wants := func(when string, left int) {
		t.Helper()
		if got := m.left(o.limit()); got != left || (m.refuses(o.limit()) == "") != (left > 0) {
			t.Errorf("%s: %d left, want %d", when, got, left)
		}
	}
	wants("used up", 0)
	o.Uses = 1
	wants("a smaller limit", 0)
	o.Uses = 3
	wants("a larger limit", 1)
	o.secrets[0] = 8
	wants("another secret", 3)
	if err := do(); err != nil {
		t.Fatal(err)
	}
	o.secrets[0] = 7
	wants("the old secret", 1)
	o.Uses = 0
	wants("no limit", 1)
	closes := command{Command: gate.Command{Action: gate.Close}, limit: limit{useKey("one"), 1}}
	if err := m.take([]command{closes})[0]; err != nil {
		t.Error(err)
	}
	if got := slices.Collect(maps.Keys(m.at)); len(got) != 2 {
		t.Errorf("counts of %v", got)
	}
}

// TestExchangeCountsOnce: the command and the tunnel of one exchange count once, in either
// order or in one call, and however many exchanges there are; whichever finds no use left is
// refused, also if the other one was refused before.
func TestExchangeCountsOnce(t *testing.T) {
	m := &memoryUses{}
	m.restart()
	const exchanges = 3000
	of := func(counted *atomic.Bool) command {
		c := limited("one", exchanges)
		c.counted = counted
		return c
	}
	take := func(counted *atomic.Bool, want error, left int) {
		t.Helper()
		err := m.take([]command{of(counted)})[0]
		if got := m.left(limit{useKey("one"), exchanges}); !errors.Is(err, want) || got != left {
			t.Fatalf("%v, %d left, want %d", err, got, left)
		}
	}
	var all [exchanges]atomic.Bool
	for i := range all {
		take(&all[i], nil, exchanges-i-1)
	}
	for i := range all {
		take(&all[i], nil, 0)
	}
	var late atomic.Bool
	take(&late, errNoUses, 0)
	take(&late, errNoUses, 0)
	take(nil, errNoUses, 0) // no tunnel can come of it
	var both, one, other atomic.Bool
	for _, row := range []struct {
		uses int
		want []error
	}{{exchanges, []error{errNoUses, errNoUses, errNoUses}}, {exchanges + 2, []error{nil, nil, nil}}} {
		all := []command{of(&both), of(&both), of(&one)}
		for i := range all {
			all[i].limit.uses = row.uses
		}
		if errs := m.take(all); !slices.Equal(errs, row.want) || both.Load() != (row.want[0] == nil) {
			t.Errorf("in one call, %d uses: %v", row.uses, errs)
		}
	}
	take(&other, errNoUses, 0)
	// A use that was not recorded is not counted.
	m.disk = nil
	m.restart()
	m.fails = true
	if err := m.take([]command{of(&late)})[0]; err == nil {
		t.Error("taken without a record")
	}
	m.fails = false
	take(&late, nil, exchanges-1)
}

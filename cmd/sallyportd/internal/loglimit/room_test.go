package loglimit

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(1_800_000_000, 0)

func lineOf(kind, client, service string) line {
	return line{of: owner{kind, client, service}, record: slog.NewRecord(start, slog.LevelInfo, kind, 0)}
}

// value returns an attribute of a record.
func value(r slog.Record, key string) (v slog.Value) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			v = a.Value
		}
		return true
	})
	return v
}

// reports returns how many lines of each kind a summary reports.
func reports(t interface{ Fatalf(string, ...any) }, r slog.Record) (total uint64, kinds map[string]uint64) {
	kinds = map[string]uint64{}
	for part := range strings.SplitSeq(value(r, "kinds").String(), " | ") {
		number, name, _ := strings.Cut(part, " ")
		var n uint64
		if _, err := fmt.Sscan(number, &n); err != nil {
			t.Fatalf("kinds=%q: %v", value(r, "kinds"), err)
		}
		kinds[name] += n
		total += n
	}
	if got := value(r, "left_out").Uint64(); got != total {
		t.Fatalf("left_out=%d, and the kinds have %d", got, total)
	}
	return total, kinds
}

// TestOneClientHidesNoOther: while one client fills the room, the lines of others get a
// place, and are written before its own.
func TestOneClientHidesNoOther(t *testing.T) {
	r := newRoom()
	for i := range 10_000 {
		r.put(start, lineOf("opened", "evil", fmt.Sprint(i)))
	}
	for i := range 20 {
		r.put(start, lineOf("opened", fmt.Sprint("honest", i), "web"))
	}
	if r.waiting != capacity {
		t.Fatalf("%d lines wait", r.waiting)
	}
	written := map[string]int{}
	for range 42 {
		l, _, _ := r.next(start)
		written[l.of.client]++
		start := start.Add(time.Second)
		r.put(start, lineOf("opened", "evil", "more"))
	}
	if written["evil"] != 22 || len(written) != 21 {
		t.Errorf("written: %v", written)
	}
}

// TestRareClientAmongManyInsiders: 1,000 clients flood. A client that was not served
// lately gets its line written within the time of one full room.
func TestRareClientAmongManyInsiders(t *testing.T) {
	r := newRoom()
	now := start
	flood := func() {
		for i := range 1000 {
			r.put(now, lineOf("opened", fmt.Sprint("evil", i), fmt.Sprint(now.Unix()%60)))
		}
	}
	for range 130 { // all of them have been served
		flood()
		for range 8 {
			r.next(now)
		}
		now = now.Add(time.Second)
	}
	r.put(now, lineOf("opened", "honest", "web"))
	for second := 0; second < 2; second++ {
		flood()
		for range 8 {
			if l, _, _ := r.next(now); l.of.client == "honest" {
				return
			}
		}
		now = now.Add(time.Second)
	}
	t.Error("the line of the honest client was not written")
}

// TestReservedKinds: have separate places, and are written first.
func TestReservedKinds(t *testing.T) {
	r := newRoom()
	for i := range 10_000 {
		r.put(start, lineOf("opened", fmt.Sprint(i), "web"))
	}
	r.put(start, lineOf("client revoked", "x", ""))
	if l, _, _ := r.next(start); l.of.kind != "client revoked" {
		t.Errorf("%q is written first", l.of.kind)
	}
	for range 10_000 {
		r.put(start, lineOf("request refused", "", ""))
	}
	if n := len(r.reserved); n != perOwner.Burst {
		t.Errorf("%d lines of one reserved kind wait", n)
	}
	for i := range 10_000 {
		r.put(start, lineOf("client revoked", fmt.Sprint(i), ""))
	}
	if n := len(r.reserved); n != 2*perOwner.Burst-1 { // one was written
		t.Errorf("%d lines of two reserved kinds wait", n)
	}
	r = newRoom()
	for i := range 1000 {
		r.put(start, lineOf("client revoked", fmt.Sprint(i), ""))
	}
	if n := len(r.reserved); n != reservedCapacity {
		t.Errorf("%d lines of reserved kinds wait", n)
	}
}

// TestReservedKindsExist: each is an event of the list.
func TestReservedKindsExist(t *testing.T) {
	list, err := os.ReadFile("../../EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind := range reserved {
		if !strings.Contains(string(list), "\n| `"+kind+"` |") {
			t.Errorf("no event %q", kind)
		}
	}
}

// TestOrder: as long as few lines wait, they are written in the order in which they came.
func TestOrder(t *testing.T) {
	r := newRoom()
	for i := range orderly {
		r.put(start, lineOf([]string{"closed", "reloaded", "opened"}[i%3], fmt.Sprint(i%4), ""))
	}
	for i := range uint64(orderly) {
		if l, _, _ := r.next(start); l.number != i+1 {
			t.Errorf("line %d comes after %d others", l.number, i)
		}
	}
}

// TestEachLineIsWrittenOrReportedOnce: in whatever order lines come and are written, and
// time passes, the lines that were written and those that were reported as left out are all,
// for each kind; nothing grows beyond its bound; and no report is late.
func TestEachLineIsWrittenOrReportedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, now := newRoom(), start
		put, done := map[string]uint64{}, map[string]uint64{}
		kinds := []string{"opened", "closed", "reloaded", "failed"}
		write := func(l line, left uint64) {
			if l.of.kind == leftOut {
				_, all := reports(t, l.record)
				for name, n := range all {
					done[name] += n
				}
				return
			}
			done[l.of.kind] += 1 + left
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				kind, client := rapid.SampledFrom(kinds).Draw(t, "kind"), fmt.Sprint(rapid.IntRange(0, 300).Draw(t, "client"))
				if client == "0" {
					client = ""
				}
				for range rapid.SampledFrom([]int{1, 30, 200}).Draw(t, "times") {
					r.put(now, lineOf(kind, client, ""))
					put[kind]++
				}
			},
			"many": func(t *rapid.T) {
				for i := range rapid.SampledFrom([]int{100, 100, 100, 100, maxOwners + 10}).Draw(t, "clients") {
					r.put(now, lineOf("opened", fmt.Sprint("many", i), ""))
					put["opened"]++
				}
			},
			"write": func(t *rapid.T) {
				if l, left, ok := r.next(now); ok {
					write(l, left)
				}
			},
			"leave all": func(t *rapid.T) { r.leaveAll(now, rapid.Bool().Draw(t, "reserved")) },
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "s")) * time.Second)
			},
			"": func(t *rapid.T) {
				if r.waiting > capacity || len(r.reserved) > reservedCapacity || len(r.owners) > maxOwners || len(r.served) > maxOwners {
					t.Fatalf("%d lines, %d reserved, %d owners, %d served", r.waiting, len(r.reserved), len(r.owners), len(r.served))
				}
				seated := 0
				for _, p := range r.parties {
					if len(p.lines) == 0 {
						t.Fatal("a party without a line")
					}
					seated += len(p.lines)
				}
				if seated != r.waiting {
					t.Fatalf("%d lines wait, counted as %d", seated, r.waiting)
				}
				if at, ok := r.due(); ok && !at.After(now) {
					if l, _, _ := r.next(now); l.of.kind != leftOut {
						t.Fatal("the report is overdue")
					} else {
						write(l, 0)
					}
				}
			},
		})
		for {
			l, left, ok := r.next(now)
			if !ok {
				break
			}
			write(l, left)
		}
		if l, ok := r.summary(now, true); ok {
			write(l, 0)
		}
		for _, kind := range kinds {
			if put[kind] != done[kind] {
				t.Fatalf("%s: %d lines, of which %d were written or reported", kind, put[kind], done[kind])
			}
		}
	})
}

// TestOneSecretHidesNobody: leases of an operation that belongs to no client have another
// identifier for each address. A host with its secret and many addresses is one party.
func TestOneSecretHidesNobody(t *testing.T) {
	r := newRoom()
	now := start
	var o owner
	o.add("client", "bob")
	r.put(now, line{of: owner{"opened", o.client, "web"}})
	r.next(now) // bob was served before
	stranger := func(i int) line {
		o := owner{kind: "opened", service: "gate"}
		o.add("client", fmt.Sprintf("#%07d", i))
		return line{of: o}
	}
	written, left := 0, 0
	for i := range 6000 {
		r.put(now, stranger(i))
		if i%60 == 30 {
			r.put(now, lineOf("opened", "bob", "web"))
		}
		if i%20 == 0 { // a slot
			now = now.Add(slotPause / sharedSlots)
			if l, _, ok := r.next(now); ok && l.of.client == "bob" {
				written++
			}
		}
	}
	if s := r.owners[owner{"opened", "bob", "web"}]; s != nil {
		left = int(s.left)
	}
	if written < 20 || r.waiting > 2*orderly {
		t.Errorf("written: %d lines of bob, %d left out; %d lines wait", written, left, r.waiting)
	}
}

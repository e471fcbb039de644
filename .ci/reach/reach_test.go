package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// server is a program whose packets go from read over a queue to check, and from
// there by an interface, a field, a generic function and a dependency to verify.
// deliver and opened run after that.
const server = `package main

import (
	"dependency"
	"golang.org/x/sys/unix"
)

type packet struct{ data []byte }

// Proof is a packet that was verified.
type Proof struct{ packet }

type sink interface{ deliver(Proof) }

type rule interface{ accepts(packet) bool }

type short struct{}

func (short) accepts(p packet) bool { return len(p.data) < 9 }

type long struct{}

func (long) accepts(p packet) bool { return len(p.data) > 9 }

type checker struct {
	rule   rule
	extra  func(packet) bool
	sink   sink
	queue  chan packet
}

func main() {
	c := &checker{rule: short{}, sink: gate{}, queue: make(chan packet)}
	c.extra = func(p packet) bool {
		return first(p.data) != 0
	}
	_ = long{}
	fd, _ := open()
	go c.check()
	c.read(fd)
}

func open() (int, error) { return unix.Socket(1, 2, 0) }

func first[T any](list []T) (t T) {
	if len(list) > 0 {

		// A comment does not count.
		return list[0]
	}
	return t
}

func (c *checker) read(fd int) {
	for {
		var b [9]byte
		n, _ := unix.Read(fd, b[:])
		/* nor does
		   this one */
		c.queue <- packet{b[:n]}
	}
}

func (c *checker) check() {
	for p := range c.queue {
		if c.rule.accepts(p) && c.extra(p) {
			if q, ok := verify(p); ok {
				c.sink.deliver(q)
			}
		}
	}
}

func verify(p packet) (Proof, bool) {
	return Proof{p}, dependency.Same(p, p)
}

func (p packet) Key() string { return string(p.data) }

type gate struct{}

func (gate) deliver(p Proof) { opened(p.data) }

func opened([]byte) {}
`

const dependency = `package dependency

type Keyed interface{ Key() string }

func Same(a, b Keyed) bool {
	return keyOf(a) == keyOf(b)
}

func keyOf(k Keyed) string { return k.Key() }

func Other() {}
`

const unix = `package unix

func Socket(domain, kind, protocol int) (int, error) { return 3, nil }

func Read(fd int, b []byte) (int, error)
`

const assembly = `// Read returns nothing.
TEXT ·Read(SB), 4, $0-56

	// A comment does not count.
	RET

TEXT ·Write(SB), 4, $0-56
	RET
`

var testPlan = plan{
	module:    "server",
	program:   ".",
	routes:    []route{{name: "for a packet", roots: []string{"(*server.checker).read", "(*server.checker).check"}, reaches: []string{"server.verify"}}},
	authentic: []string{"server.Proof"},
	openers:   []rule{{"server.open", "strangers"}},
}

// countIn counts a program that differs from server.
func countIn(t *testing.T, p plan, replace ...string) (*count, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module server\n\ngo 1.26.0\n\n" +
			"require (\n\tdependency v0.0.0\n\tgolang.org/x/sys v0.0.0\n)\n\nreplace (\n\tdependency => ./dependency\n\tgolang.org/x/sys => ./sys\n)\n",
		"main.go":                  strings.NewReplacer(replace...).Replace(server),
		"dependency/go.mod":        "module dependency\n\ngo 1.26.0\n",
		"dependency/dependency.go": dependency,
		"sys/go.mod":               "module golang.org/x/sys\n\ngo 1.26.0\n",
		"sys/unix/unix.go":         unix,
		"sys/unix/read_amd64.s":    assembly,
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return countProgram(dir, p)
}

// TestCount checks which functions count, in the order of a packet, and their lines.
func TestCount(t *testing.T) {
	base := []string{
		"(*server.checker).read", "(*server.checker).check", "(server.short).accepts", "server.main$1",
		"server.first[byte]", "server.verify", "(server.packet).Key",
	}
	without := func(name string) (list []string) {
		for _, n := range base {
			if n != name {
				list = append(list, n)
			}
		}
		return list
	}
	after := testPlan
	after.after = []rule{{"server.main$1", "for the test"}}
	for _, row := range []struct {
		name         string
		plan         plan
		replace      []string
		want         []string
		ours, others int
	}{
		{name: "the program", plan: testPlan, want: base, ours: 30, others: 6},
		{
			name: "one more function", plan: testPlan, ours: 34, others: 6,
			replace: []string{"return Proof{p}, ", "more()\n\treturn Proof{p}, ", "func opened", "func more() {\n\tprintln()\n}\n\nfunc opened"},
			want:    append(without("(server.packet).Key"), "server.more", "(server.packet).Key"),
		},
		{
			name: "one more type behind the interface", plan: testPlan, ours: 31, others: 6,
			replace: []string{"_ = long{}", "c.rule = long{}"},
			want:    append(append([]string{}, base[:3]...), append([]string{"(server.long).accepts"}, base[3:]...)...),
		},
		{
			name: "no dependency", plan: testPlan, ours: 29, others: 2,
			replace: []string{"dependency.Same(p, p)", "true", "\t\"dependency\"\n", ""},
			want:    without("(server.packet).Key"),
		},
		{name: "a function that runs later", plan: after, ours: 21, others: 6, want: append(base[:3:3], base[5:]...)},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := countIn(t, row.plan, row.replace...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			var list strings.Builder
			c.list(&list, "")
			for line := range strings.Lines(list.String()) {
				at, name, found := strings.Cut(strings.TrimSpace(line), " ")
				if found && strings.Contains(at, "main.go:") {
					got = append(got, name)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
			if c.total.ours != row.ours || c.total.others != row.others {
				t.Errorf("got %d and %d lines, want %d and %d", c.total.ours, c.total.others, row.ours, row.others)
			}
		})
	}
}

// TestNothingIsLeftOut: a change that would make the count smaller than the truth
// is an error.
func TestNothingIsLeftOut(t *testing.T) {
	change := func(f func(p *plan)) plan {
		p := testPlan
		f(&p)
		return p
	}
	for name, row := range map[string]struct {
		plan    plan
		replace []string
		want    string
	}{
		"a root that has another name":      {testPlan, []string{"check()", "checks()"}, "no function (*server.checker).check"},
		"a check that is not called":        {testPlan, []string{"q, ok := verify(p); ok", "q := (Proof{p}); true"}, "does not reach server.verify"},
		"one more socket":                   {testPlan, []string{"fd, _ := open()", "fd, _ := unix.Socket(2, 2, 0)\n\topen()"}, "server.main opens"},
		"one more socket, before main":      {testPlan, []string{"func opened", "func init() {\n\tgo func() { unix.Socket(2, 2, 0) }()\n}\n\nfunc opened"}, "server.init#1$1 opens"},
		"a function that opens none":        {change(func(p *plan) { p.openers = append(p.openers, rule{"server.verify", ""}) }), nil, "does not open"},
		"a wrapper that is called":          {change(func(p *plan) { p.wrappers = []string{"server.open"} }), nil, "server.main opens"},
		"a package that does not exist":     {change(func(p *plan) { p.elsewhere = []rule{{"server/client", ""}} }), nil, "has no package server/client"},
		"two faults":                        {testPlan, []string{"check()", "checks()", "fd, _ := open()", "fd, _ := unix.Socket(2, 2, 0)\n\topen()"}, "server.main opens; no function (*server.checker).check"},
		"a later function that is not met":  {change(func(p *plan) { p.after = []rule{{"server.opened", ""}} }), nil, "no route reaches it"},
		"a program that cannot be compiled": {testPlan, []string{"func opened", "func open"}, "redeclared"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := countIn(t, row.plan, row.replace...)
			for want := range strings.SplitSeq(row.want, "; ") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, %v, want %q", c, err, want)
				}
			}
		})
	}
}

func TestCompare(t *testing.T) {
	c := count{total: counted{ours: 12034, others: 999}, routes: []counted{{ours: 12034, route: route{name: "for a knock"}}}}
	want := "can reach 12,034 lines of this project's code before it is authenticated (12,034 for a knock), and 999 of its dependencies"
	if got := c.sentence(); got != want {
		t.Fatalf("got %q", got)
	}
	text := "# A\n\nA packet " + want + ".\n\n## B\n"
	if _, err := compare(text, c.sentence()); err != nil {
		t.Error(err)
	}
	c.total.ours++
	fixed, err := compare(text, c.sentence())
	if err == nil || fixed != strings.Replace(text, "reach 12,034", "reach 12,035", 1) {
		t.Errorf("%v, %q", err, fixed)
	}
	for _, text := range []string{"# A\n", text + text} {
		if _, err := compare(text, c.sentence()); err == nil {
			t.Errorf("accepted: %q", text)
		}
	}
}

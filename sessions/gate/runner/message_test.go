package runner

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/gate/program"
)

// messages are one of each kind, with all fields.
func messages() []message {
	return []message{
		{kind: kindHello, digest: Digest{1, 2, 31: 3}},
		{kind: kindBegin, mark: [markSize]byte{4, 15: 5}},
		{kind: kindStart, run: 1 << 31, program: program.ID{Service: "site", Role: program.OnOpen}, env: []string{"SALLYPORT_EVENT=open", "SALLYPORT_CLIENT="}},
		{kind: kindStart, run: 7, program: program.ID{Service: "site", Role: program.Server}},
		{kind: kindStop, run: 8},
		{kind: kindEnded, run: 9, dropped: 1 << 40, err: "exit code 3"},
		{kind: kindEnded, run: 10},
	}
}

var allKinds = []kind{kindHello, kindEnded, kindBegin, kindStart, kindStop}

func TestMessages(t *testing.T) {
	for _, want := range messages() {
		b := want.append(nil)
		got, err := parse(b, allKinds...)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %+v, %v", want, got, err)
		}
		others := slices.DeleteFunc(slices.Clone(allKinds), func(k kind) bool { return k == want.kind })
		if _, err := parse(b, others...); !errors.Is(err, errMessage) {
			t.Errorf("%+v: accepted as another kind: %v", want, err)
		}
		for n := range len(b) {
			// A shorter error is an error too.
			if m, err := parse(b[:n], allKinds...); err == nil && m.kind != kindEnded && m.kind != kindStart {
				t.Errorf("%+v: %d bytes of %d are accepted", want, n, len(b))
			}
		}
		if want.kind == kindHello || want.kind == kindBegin {
			b[1]++
			if _, err := parse(b, allKinds...); !errors.Is(err, ErrOtherRelease) {
				t.Errorf("another version: %v", err)
			}
		}
	}
	long := message{kind: kindEnded, err: strings.Repeat("x", maxError-1) + "éé"}
	if m, err := parse(long.append(nil), kindEnded); err != nil || m.err != strings.Repeat("x", maxError-1) {
		t.Errorf("%d bytes, %v", len(m.err), err)
	}
	if _, err := parse(make([]byte, maxMessage+1), allKinds...); !errors.Is(err, errMessage) {
		t.Errorf("too long: %v", err)
	}
}

// FuzzMessage: a message that parses is the same after it was written again.
func FuzzMessage(f *testing.F) {
	for _, m := range messages() {
		f.Add(m.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b, allKinds...)
		if err != nil {
			return
		}
		again, err := parse(m.append(nil), allKinds...)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v, then %+v, %v", m, again, err)
		}
	})
}

func reports() []report {
	return []report{
		{kind: reportStarted, pid: 1 << 31}, {kind: reportEnded, status: 9, left: true}, {kind: reportEnded, status: 256},
		{kind: reportFailed, err: "execute /x: no such file or directory"},
	}
}

func TestReports(t *testing.T) {
	for _, want := range reports() {
		b := want.append(nil)
		if got, err := parseReport(b); err != nil || got != want {
			t.Errorf("%+v: %+v, %v", want, got, err)
		}
		if _, err := parseReport(b[:1]); !errors.Is(err, errMessage) {
			t.Errorf("%+v: a part is accepted", want)
		}
	}
}

// FuzzReport: a report that parses is the same after it was written again.
func FuzzReport(f *testing.F) {
	for _, r := range reports() {
		f.Add(r.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReport(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.append(nil), b) && !strings.ContainsRune(r.err, '\ufffd') && len(r.err) < maxError {
			t.Errorf("%q: %+v, then %q", b, r, r.append(nil))
		}
	})
}

// FuzzOrder: no order makes the supervisor or the step panic.
func FuzzOrder(f *testing.F) {
	f.Add(order{Args: []string{"/bin/true"}, Env: []string{"A=b"}, Dir: "/", Listener: true}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := readOrder(bytes.NewReader(b)); err == nil && len(o.Args) == 0 {
			t.Error("no program")
		}
	})
}

// FuzzPolicy: a policy that a runner accepts has the same digest after it was written
// again.
func FuzzPolicy(f *testing.F) {
	f.Add(encode(validPrograms()))
	f.Fuzz(func(t *testing.T, b []byte) {
		programs, err := readPolicy(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readPolicy(bytes.NewReader(encode(programs)))
		if err != nil || DigestOf(again) != DigestOf(programs) {
			t.Errorf("%+v, then %+v, %v", programs, again, err)
		}
	})
}

func validPrograms() []program.Program {
	return []program.Program{
		{ID: program.ID{Service: "site", Role: program.Server}, User: "www", Args: []string{"/bin/httpd", "-f"}, Dir: "/", Env: []string{"LANG=C"}, StopAfter: time.Second},
		{ID: program.ID{Service: "site", Role: program.OnOpen}, User: "www", Args: []string{"/bin/true"}, Dir: "/srv", TimeLimit: time.Second},
	}
}

// TestPolicy: each program breaks one rule. The digest depends on each field, and not
// on the order.
func TestPolicy(t *testing.T) {
	valid := validPrograms()
	if err := Validate(valid); err != nil {
		t.Fatal(err)
	}
	other := validPrograms()
	slices.Reverse(other)
	if DigestOf(valid) != DigestOf(other) {
		t.Error("the digest depends on the order")
	}
	for name, change := range map[string]func(p *program.Program){
		"relative program":   func(p *program.Program) { p.Args = []string{"httpd"} },
		"no program":         func(p *program.Program) { p.Args = nil },
		"relative directory": func(p *program.Program) { p.Dir = "srv" },
		"zero byte":          func(p *program.Program) { p.Args = append(p.Args, "a\x00b") },
		"no name":            func(p *program.Program) { p.Env = []string{"=x"} },
		"no value":           func(p *program.Program) { p.Env = []string{"X"} },
		"reserved":           func(p *program.Program) { p.Env = []string{"SALLYPORT_EVENT=open"} },
		"of systemd":         func(p *program.Program) { p.Env = []string{"LISTEN_FDS=7"} },
		"negative time":      func(p *program.Program) { p.StopAfter = -1 },
		"unknown role":       func(p *program.Program) { p.Role = "on_fire" },
		"there twice":        func(p *program.Program) { p.Role = program.OnOpen },
	} {
		programs := validPrograms()
		change(&programs[0])
		if err := Validate(programs); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if DigestOf(programs) == DigestOf(valid) {
			t.Errorf("%s: the digest is the same", name)
		}
	}
}

// TestEnvironment: a request sets variables of Sallyport to printable values, each
// once. Variables of the configuration replace those that all programs have.
func TestEnvironment(t *testing.T) {
	for env, accepted := range map[string]bool{
		"": true, "SALLYPORT_EVENT=open|SALLYPORT_CLIENT=xTbP": true, "SALLYPORT_ADDRESS=2001:db8::1": true, "SALLYPORT_CLIENT=": true,
		"SALLYPORT_CLIENT": false, "LD_PRELOAD=/tmp/x.so": false, "PATH=/tmp": false, "SALLYPORT_INSTANCE=x": false,
		"SALLYPORT_EVENT=a|SALLYPORT_EVENT=b": false, "SALLYPORT_CLIENT=a\nb": false, "SALLYPORT_CLIENT=\xff": false,
		"SALLYPORT_CLIENT=" + strings.Repeat("x", maxValue): true, "SALLYPORT_CLIENT=" + strings.Repeat("x", maxValue+1): false,
	} {
		var list []string
		if env != "" {
			list = strings.Split(env, "|")
		}
		if err := checkEnvironment(list); (err == nil) != accepted {
			t.Errorf("%.60q: %v", env, err)
		}
	}
	got := environment([]string{"PATH=/bin", "HOME=/"}, []string{"PATH=/opt", "X=y"}, []string{"X=z"})
	if want := []string{"PATH=/opt", "HOME=/", "X=z"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	var all []string
	for _, name := range names {
		all = append(all, name+"="+strings.Repeat("x", maxValue))
	}
	m := message{kind: kindStart, program: program.ID{Service: strings.Repeat("s", maxValue), Role: program.OnClose}, env: all}
	if n := len(m.append(nil)); n > maxMessage {
		t.Errorf("a request with all variables has %d bytes, a message at most %d", n, maxMessage)
	}
}

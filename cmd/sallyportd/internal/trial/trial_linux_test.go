package trial

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// ssh is a service with one port.
var ssh = Subject{Name: "ssh", Keys: []string{"tcp 22"}}

// TestAnswer: each row is a start with a record, and what it leaves on trial.
func TestAnswer(t *testing.T) {
	const boot, before = "this", "earlier"
	now := Moment{boot, time.Hour}
	minute := func(n time.Duration) *time.Duration { n *= time.Minute; return &n }
	ends := func(d time.Duration) Entry { return Entry{OnTrial, boot, now.Monotonic + d, false} }
	stop := func(e Entry) Entry { e.Stopped = true; return e }
	confirmed, stopped := Entry{State: Confirmed}, Entry{State: OnTrial}
	type left = map[string]time.Duration
	for _, row := range []struct {
		name   string
		record Record
		asked  *time.Duration
		hides  []string // what the table that exists hides for good
		left   left
		want   Record // nil: as before
		closed []string
	}{
		{"the default", nil, nil, nil, left{}, nil, nil},
		{"the first trial", nil, minute(5), nil, left{"ssh": 5 * time.Minute, Stealth: 5 * time.Minute},
			Record{"tcp 22": ends(5 * time.Minute), Stealth: ends(5 * time.Minute)}, nil},
		{"hidden before, without a record", nil, minute(5), []string{"ssh"}, left{Stealth: 5 * time.Minute}, Record{"tcp 22": confirmed, Stealth: ends(5 * time.Minute)}, []string{"ssh"}},
		{"confirmed", Record{"tcp 22": confirmed, Stealth: confirmed}, minute(5), nil, left{}, nil, []string{"ssh", Stealth}},
		{"another service, later", Record{"tcp 22": confirmed}, minute(5), nil, left{Stealth: 5 * time.Minute}, Record{"tcp 22": confirmed, Stealth: ends(5 * time.Minute)}, []string{"ssh"}},
		{"another service, without a trial", Record{"tcp 22": ends(time.Minute)}, nil, nil, left{"ssh": time.Minute}, nil, nil},
		{"it continues", Record{"tcp 22": ends(time.Minute), Stealth: ends(2 * time.Minute)}, nil, nil, left{"ssh": time.Minute, Stealth: 2 * time.Minute}, nil, nil},
		{"it continues, and is no longer", Record{"tcp 22": ends(time.Minute), Stealth: confirmed}, minute(5), nil, left{"ssh": time.Minute}, nil, []string{Stealth}},
		{"it is over", Record{"tcp 22": ends(-time.Minute)}, nil, nil, left{"ssh": 0}, nil, nil},
		{"a crash after its end does not shut it again", Record{"tcp 22": ends(-time.Minute), Stealth: confirmed}, minute(5), nil, left{"ssh": 0}, nil, []string{Stealth}},
		{"another start of the kernel", Record{"tcp 22": {OnTrial, before, 2 * time.Hour, false}}, nil, nil, left{"ssh": 0}, nil, nil},
		{"over", Record{"tcp 22": stopped}, nil, nil, left{"ssh": 0}, nil, nil},
		{"stopped in order, and over", Record{"tcp 22": stop(ends(-time.Minute))}, nil, nil, left{"ssh": 0}, nil, nil},
		{"stopped in order, before its end", Record{"tcp 22": stop(ends(time.Minute))}, nil, nil, left{"ssh": time.Minute}, nil, nil},
		{"stopped in order before its end, and again", Record{"tcp 22": stop(ends(time.Minute)), Stealth: confirmed}, minute(5), nil, left{"ssh": 5 * time.Minute}, Record{"tcp 22": ends(5 * time.Minute), Stealth: confirmed}, []string{Stealth}},
		{"stopped in order, and again", Record{"tcp 22": stopped, Stealth: confirmed}, minute(5), nil, left{"ssh": 5 * time.Minute}, Record{"tcp 22": ends(5 * time.Minute), Stealth: confirmed}, []string{Stealth}},
		{"the table hides it, whatever the record has", Record{"tcp 22": stopped, Stealth: ends(time.Minute)}, nil, []string{"ssh", Stealth}, left{}, Record{"tcp 22": confirmed, Stealth: confirmed}, nil},
		{"the table hides it, and again", Record{"tcp 22": stopped, Stealth: confirmed}, minute(5), []string{"ssh"}, left{}, Record{"tcp 22": confirmed, Stealth: confirmed}, []string{"ssh", Stealth}},
		{"none", Record{"tcp 22": ends(time.Minute), "tcp 99": stopped}, minute(0), nil, left{}, Record{"tcp 22": confirmed, Stealth: confirmed}, nil},
		{"a service that is gone", Record{"tcp 99": stopped}, nil, nil, left{}, nil, nil},
	} {
		q := Question{Subjects: []Subject{ssh, StealthSubject()}, Asked: row.asked, Now: now, Hides: func(s Subject) (bool, error) {
			for _, h := range row.hides {
				if h == s.Name {
					return true, nil
				}
			}
			return false, nil
		}}
		record := maps.Clone(row.record)
		a, err := q.Answer(record)
		want := row.want
		if want == nil {
			want = row.record
		}
		if err != nil || !maps.Equal(a.Left, row.left) || !maps.Equal(a.Record, want) || a.Changed != (row.want != nil) || !reflect.DeepEqual(a.Closed, row.closed) {
			t.Errorf("%s: %+v, %v", row.name, a, err)
		}
		if !maps.Equal(record, row.record) {
			t.Errorf("%s: the record was changed in place", row.name)
		}
	}
}

// TestAnswerUncertain: if the table may hide a part of a service, a trial does not begin,
// and without --trial the service is closed.
func TestAnswerUncertain(t *testing.T) {
	uncertain := errors.New("uncertain")
	q := Question{Subjects: []Subject{ssh}, Now: Moment{"this", time.Hour}, Hides: func(Subject) (bool, error) { return false, uncertain }}
	if a, err := q.Answer(Record{"tcp 22": {State: OnTrial}}); err != nil || len(a.Left) != 0 || a.Changed {
		t.Errorf("%+v, %v", a, err)
	}
	asked := time.Minute
	q.Asked = &asked
	if _, err := q.Answer(nil); !errors.Is(err, uncertain) {
		t.Error(err)
	}
}

// TestRecord: what is written is read again; Confirm and Stop change what is on trial.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	if r, err := Read(dir); r != nil || err != nil {
		t.Errorf("a missing record: %v, %v", r, err)
	}
	if err := Stop(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(PathIn(dir)); !os.IsNotExist(err) {
		t.Errorf("a record was made without a trial: %v", err)
	}
	runs := Entry{OnTrial, "this", time.Hour, false}
	all := Record{"tcp 22": runs, "tcp 5432": runs, "tcp 80": {State: Confirmed}}
	is := func(want Record) {
		t.Helper()
		if r, err := Read(dir); err != nil || !maps.Equal(r, want) {
			t.Errorf("got %v, %v, want %v", r, err, want)
		}
	}
	if err := all.Write(dir); err != nil {
		t.Fatal(err)
	}
	is(all)
	if info, err := os.Stat(PathIn(dir)); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if err := Confirm(dir, []Subject{ssh}, nil); err != nil {
		t.Error(err)
	}
	is(Record{"tcp 22": {State: Confirmed}, "tcp 5432": runs, "tcp 80": {State: Confirmed}})
	if err := Stop(dir); err != nil {
		t.Error(err)
	}
	stopped := Record{"tcp 22": {State: Confirmed}, "tcp 5432": {OnTrial, "this", time.Hour, true}, "tcp 80": {State: Confirmed}}
	is(stopped)
	db, none := Subject{Name: "db", Keys: []string{"tcp 5432"}}, Subject{Name: "none", Keys: []string{"tcp 1"}}
	if !stopped.Unconfirmed(db) || stopped.Unconfirmed(ssh) || stopped.Unconfirmed(none) {
		t.Error("unconfirmed")
	}
	if err := os.Remove(PathIn(dir)); err != nil {
		t.Fatal(err)
	}
	if err := Confirm(dir, []Subject{ssh}, nil); err != nil { // the record was lost during the trial
		t.Error(err)
	}
	is(Record{"tcp 22": {State: Confirmed}})
}

// TestDamagedRecord: a record that is not exactly of this version is an error.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{
		"", "{", "[]", `{"services":{}}`, `{"version":3,"services":{}}`, `{"version":1,"services":{},"more":1}`,
		`{"version":1,"services":{"ssh":{"state":"open"}}}`, `{"version":1,"services":{"ssh":{}}}`,
		`{"version":1,"services":{"ssh":{"state":"trial","boot":"this"}}}`, `{"version":1,"services":{"ssh":{"state":"trial","ends_ns":1}}}`,
		`{"version":1,"services":{"ssh":{"state":"trial","boot":"this","ends_ns":-1}}}`,
		`{"version":1,"services":{"ssh":{"state":"confirmed","boot":"this","ends_ns":1}}}`,
		`{"version":1,"services":{"ssh":{"state":"confirmed","stopped":true}}}`,
		`{"version":1,"services":{"ssh":{"state":"trial"}}} x`, `{"version":1,"services":{"` + strings.Repeat("x", maxFile) + `":{"state":"trial"}}}`,
	} {
		if err := os.WriteFile(PathIn(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Read(dir); err == nil {
			t.Errorf("accepted: %.80s: %v", text, r)
		}
	}
	if err := os.Remove(PathIn(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(PathIn(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil {
		t.Error("a directory is accepted")
	}
}

func TestNow(t *testing.T) {
	a, err := Now()
	b, err2 := Now()
	if err != nil || err2 != nil || a.Boot != b.Boot || a.Boot == "" || b.Monotonic < a.Monotonic || a.Monotonic <= 0 {
		t.Error(a, b, err, err2)
	}
}

// TestAnswerByPort: the record knows services by their ports. Another name is the same
// service, and another port under the same name is another one. A port that was confirmed
// never opens, as a part of other ports or at another address either.
func TestAnswerByPort(t *testing.T) {
	now, asked := Moment{"this", time.Hour}, 5*time.Minute
	confirmed := Entry{State: Confirmed}
	until := Entry{OnTrial, now.Boot, now.Monotonic + time.Minute, false}
	for _, row := range []struct {
		name   string
		record Record
		keys   []string
		asked  *time.Duration
		left   time.Duration // negative: not on trial
		part   bool          // an error
	}{
		{"another name", Record{"tcp 22": confirmed}, []string{"tcp 22"}, &asked, -1, false},
		{"another port", Record{"tcp 22": confirmed}, []string{"tcp 23"}, &asked, asked, false},
		{"another protocol", Record{"tcp 22": confirmed}, []string{"udp 22"}, &asked, asked, false},
		{"a port of a range", Record{"tcp 20-30": confirmed}, []string{"tcp 22"}, &asked, -1, false},
		{"a range with the port", Record{"tcp 22": confirmed}, []string{"tcp 20-30"}, &asked, 0, true},
		{"the same, later", Record{"tcp 22": confirmed}, []string{"tcp 20-30"}, nil, -1, false},
		{"one of two", Record{"tcp 22": confirmed}, []string{"tcp 22", "tcp 443"}, &asked, 0, true},
		{"two", Record{"tcp 22": confirmed, "tcp 443": confirmed}, []string{"tcp 22", "tcp 443"}, &asked, -1, false},
		{"one address", Record{"tcp 22": confirmed}, []string{"tcp 192.0.2.1 22"}, &asked, -1, false},
		{"all addresses", Record{"tcp 192.0.2.1 22": confirmed}, []string{"tcp 22"}, &asked, 0, true},
		{"another address", Record{"tcp 192.0.2.1 22": confirmed}, []string{"tcp 192.0.2.2 22"}, &asked, asked, false},
		{"it continues", Record{"tcp 22": until}, []string{"tcp 22"}, nil, time.Minute, false},
		{"it continues with a further port", Record{"tcp 22": until}, []string{"tcp 22", "tcp 443"}, nil, time.Minute, false},
		{"the first version of the file", Record{"new": confirmed}, []string{"tcp 22"}, &asked, -1, false},
		{"the first version, on trial", Record{"new": until}, []string{"tcp 22"}, nil, time.Minute, false},
	} {
		s := Subject{Name: "new", Keys: row.keys}
		q := Question{Subjects: []Subject{s}, Asked: row.asked, Now: now, Hides: func(Subject) (bool, error) { return false, nil }}
		a, err := q.Answer(row.record)
		left, on := a.Left["new"]
		if errors.Is(err, errPart) != row.part || err != nil && !row.part {
			t.Errorf("%s: %v", row.name, err)
		}
		if !row.part && (on != (row.left >= 0) || on && left != row.left) {
			t.Errorf("%s: %s left, %t", row.name, left, on)
		}
	}
	// A trial that runs is written by port from then on.
	q := Question{Subjects: []Subject{ssh}, Asked: new(time.Duration), Now: now}
	a, err := q.Answer(Record{"ssh": until, "tcp 99": until})
	if err != nil || !maps.Equal(a.Record, Record{"tcp 22": confirmed}) {
		t.Errorf("%v, %v", a.Record, err)
	}
}

// TestAnswerProxied: a service with a proxy must be hidden already, and does not prevent the
// trial of others then. Its port stays confirmed.
func TestAnswerProxied(t *testing.T) {
	asked, none, confirmed := time.Minute, time.Duration(0), Entry{State: Confirmed}
	proxied := Subject{Name: "proxied", Keys: []string{"tcp 443"}}
	for _, row := range []struct {
		name   string
		record Record
		asked  *time.Duration
		hides  bool
		fails  bool
		want   State // of the proxied port
	}{
		{"newly hidden", nil, &asked, false, true, ""},
		{"newly hidden for good", nil, &none, false, false, Confirmed},
		{"hidden by the table", nil, &asked, true, false, Confirmed},
		{"confirmed before the proxy", Record{"tcp 443": confirmed}, &asked, false, false, Confirmed},
		{"a start without a trial", Record{"tcp 443": confirmed}, nil, false, false, Confirmed},
		{"on trial before the proxy", Record{"tcp 443": {State: OnTrial}}, nil, false, false, Confirmed},
		{"never on trial", Record{"tcp 22": confirmed}, nil, false, false, ""},
	} {
		hides := func(s Subject) (bool, error) { return row.hides && s.Name == proxied.Name, nil }
		q := Question{Subjects: []Subject{ssh}, Proxied: []Subject{proxied}, Hides: hides, Asked: row.asked, Now: Moment{"this", time.Hour}}
		a, err := q.Answer(row.record)
		if errors.Is(err, ErrProxied) != row.fails || !row.fails && (err != nil || a.Record["tcp 443"].State != row.want) {
			t.Errorf("%s: %+v, %v", row.name, a, err)
		}
		if _, on := a.Left["ssh"]; on != (row.asked == &asked && !row.fails) {
			t.Errorf("%s: the other service is on trial: %t", row.name, on)
		}
	}
}

// TestAnswerCommanded: a command begins a trial again that is over, and leaves one that runs.
func TestAnswerCommanded(t *testing.T) {
	now, asked := Moment{"this", time.Hour}, 5*time.Minute
	for _, row := range []struct {
		name      string
		e         Entry
		commanded bool
		left      time.Duration
	}{
		{"over, by a start", Entry{OnTrial, "this", time.Minute, false}, false, 0},
		{"over, by a command", Entry{OnTrial, "this", time.Minute, false}, true, asked},
		{"over since a boot, by a command", Entry{OnTrial, "earlier", 2 * time.Hour, false}, true, asked},
		{"running, by a command", Entry{OnTrial, "this", time.Hour + time.Minute, false}, true, time.Minute},
	} {
		q := Question{Subjects: []Subject{ssh}, Asked: &asked, Commanded: row.commanded, Now: now, Hides: func(Subject) (bool, error) { return false, nil }}
		a, err := q.Answer(Record{"tcp 22": row.e})
		left, on := a.Left["ssh"]
		if err != nil || !on || left != row.left {
			t.Errorf("%s: %s left, %t, %v", row.name, left, on, err)
		}
	}
	q := Question{Subjects: []Subject{ssh}, Asked: &asked, Commanded: true, Now: now, Hides: func(Subject) (bool, error) { return false, nil }}
	if a, err := q.Answer(Record{"tcp 22": {State: Confirmed}}); err != nil || len(a.Left) != 0 {
		t.Errorf("a confirmed one: %+v, %v", a, err)
	}
}

// TestFirstVersion: the record of the first version, with names, is read.
func TestFirstVersion(t *testing.T) {
	dir := t.TempDir()
	const text = `{"version":1,"services":{"ssh":{"state":"confirmed"},"db":{"state":"trial"}}}`
	if err := os.WriteFile(PathIn(dir), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	db := Subject{Name: "db", Keys: []string{"tcp 5432"}}
	if err != nil || r.Unconfirmed(ssh) || !r.Unconfirmed(db) {
		t.Fatal(r, err)
	}
	if err := Confirm(dir, []Subject{db}, nil); err != nil {
		t.Fatal(err)
	}
	if r, err = Read(dir); err != nil || r.Unconfirmed(db) || r["tcp 5432"].State != Confirmed || r["db"] != (Entry{}) {
		t.Error(r, err)
	}
}

// TestKeys: what is written is read again; a name of a service is no key.
func TestKeys(t *testing.T) {
	for _, text := range []string{"tcp 22", "udp 1000-1010", "tcp 192.0.2.1 22", "tcp 2001:db8::1 22-30"} {
		if k, ok := parseKey(text); !ok || k.String() != text {
			t.Errorf("%s: %v, %t", text, k, ok)
		}
	}
	for _, text := range []string{"ssh", Stealth, "", "tcp", "tcp x", "tcp 22-", "tcp 22-21 ", "tcp a 22", "tcp 022", "tcp 65536"} {
		if k, ok := parseKey(text); ok {
			t.Errorf("%s: parsed as %v", text, k)
		}
	}
}

// TestConfirmDamaged: a confirmation replaces a record that cannot be read, and keeps
// services open whose trial is over: else the next start hides them for good.
func TestConfirmDamaged(t *testing.T) {
	dir := t.TempDir()
	db, web := Subject{Name: "db", Keys: []string{"tcp 5432"}}, Subject{Name: "web", Keys: []string{"tcp 80"}}
	if err := os.WriteFile(PathIn(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Confirm(dir, []Subject{ssh}, []Subject{db}); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil || r.Unconfirmed(ssh) || !r.Unconfirmed(db) || r.Unconfirmed(web) {
		t.Error(r, err)
	}
	// A record that can be read knows more than the caller.
	if err := Confirm(dir, []Subject{db}, []Subject{web}); err != nil {
		t.Fatal(err)
	}
	if r, err := Read(dir); err != nil || len(r) != 2 || r.Unconfirmed(db) {
		t.Error(r, err)
	}
}

// TestLocked: two processes that change the record at once lose neither change.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			s := Subject{Keys: []string{fmt.Sprintf("tcp %d", i+1)}}
			if err := Confirm(dir, []Subject{s}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if r, err := Read(dir); err != nil || len(r) != n {
		t.Errorf("%d of %d changes are left: %v", len(r), n, err)
	}
}

// TestTakeBack: a change is taken back, and a confirmation that came after it stays.
func TestTakeBack(t *testing.T) {
	runs, confirmed := Entry{OnTrial, "this", time.Hour, false}, Entry{State: Confirmed}
	earlier := Record{"tcp 22": runs, "tcp 99": runs, "tcp 80": runs}
	made := Record{"tcp 22": runs, "tcp 80": confirmed, "tcp 5432": runs, "tcp 25": runs}
	now := Record{"tcp 22": confirmed, "tcp 80": confirmed, "tcp 5432": runs, "tcp 25": confirmed}
	want := Record{"tcp 22": confirmed, "tcp 80": runs, "tcp 99": runs, "tcp 25": confirmed}
	if r := now.TakeBack(made, earlier); !maps.Equal(r, want) {
		t.Errorf("got %v, want %v", r, want)
	}
	if r := made.TakeBack(made, earlier); !maps.Equal(r, earlier) {
		t.Errorf("got %v, want %v", r, earlier)
	}
}

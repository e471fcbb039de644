package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/trial"
)

// TestLeftTable: a server that ends with an error does not claim that the services
// behind the firewall are closed, or open.
func TestLeftTable(t *testing.T) {
	tried := []trial.Subject{{Name: "ssh", Keys: []string{"tcp 22"}}, {Name: "db", Keys: []string{"tcp 5432"}}}
	none, ssh, both := t.TempDir(), t.TempDir(), t.TempDir()
	one := trial.Record{"tcp 22": {State: trial.OnTrial}, "tcp 5432": {State: trial.Confirmed}}
	if err := one.Write(ssh); err != nil {
		t.Fatal(err)
	}
	if err := (trial.Record{"ssh": {State: trial.OnTrial}, "db": {State: trial.OnTrial}}).Write(both); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		dir        string
		clear, own bool
		err        error
		want       string
	}{
		{none, false, true, nil, "firewall table stays; services closed"},
		{none, true, true, nil, "firewall table removed; services open to anyone"},
		{none, false, false, nil, "the holder runs on"},
		{none, true, false, nil, "the holder runs on"},
		{none, false, true, errors.New("x"), "firewall table not verified"},
		{none, true, true, errors.New("x"), "firewall table not verified"},
		{none, false, false, errors.New("x"), "firewall table not verified"},
		{both, false, true, nil, "open to anyone when it is over\" services=ssh,db"},
		{both, true, true, nil, "firewall table removed; services open to anyone"},
		{both, false, true, errors.New("x"), "firewall table not verified"},
	} {
		var text bytes.Buffer
		leftTable{[]string{"ssh", "db"}, row.clear, row.dir, tried}.log(slog.New(slog.NewTextHandler(&text, nil)), row.own, row.err)
		if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, row.want) {
			t.Errorf("%+v: %q", row, got)
		}
	}
	var text bytes.Buffer
	leftTable{[]string{"ssh", "db"}, false, ssh, tried}.log(slog.New(slog.NewTextHandler(&text, nil)), true, nil)
	for _, want := range []string{"when it is over\" services=ssh\n", "services closed\" services=db "} {
		if got := text.String(); !strings.Contains(got, want) {
			t.Errorf("one on trial: %q", got)
		}
	}
}

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestLeftTable: a server that ends with an error does not claim that the services
// behind the firewall are closed, or open.
func TestLeftTable(t *testing.T) {
	for _, row := range []struct {
		clear, own bool
		err        error
		want       string
	}{
		{false, true, nil, "firewall table stays; services closed"},
		{true, true, nil, "firewall table removed; services open to anyone"},
		{false, false, nil, "the holder runs on"},
		{true, false, nil, "the holder runs on"},
		{false, true, errors.New("x"), "firewall table not verified"},
		{true, true, errors.New("x"), "firewall table not verified"},
		{false, false, errors.New("x"), "firewall table not verified"},
	} {
		var text bytes.Buffer
		leftTable{"ssh", row.clear}.log(slog.New(slog.NewTextHandler(&text, nil)), row.own, row.err)
		if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, row.want) {
			t.Errorf("%+v: %q", row, got)
		}
	}
}

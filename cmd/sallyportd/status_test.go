package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
)

// TestWatchRedraws: on a terminal each status replaces the one before, and a server that is
// gone for a moment does not end the command.
func TestWatchRedraws(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{AdminSocket: filepath.Join(dir, "s"), StateDir: dir}
	l, err := net.Listen("unix", cfg.AdminSocket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	asked := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked++; asked {
		case 2:
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		case 4:
			stop()
		}
		json.NewEncoder(w).Encode(admin.Status{Release: "v1", Ready: true})
	})}
	go server.Serve(l)
	defer server.Close()
	var out bytes.Buffer
	env := cli.Env{Stdout: &out, Stderr: &out, Clock: clock.System(), StdoutTerminal: true}
	if err := watchStatus(ctx, env, cfg, time.Millisecond, time.Minute, false); !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}
	screens := strings.Split(out.String(), redraw)
	if len(screens) != 4 || screens[0] != "" || !strings.Contains(screens[1], "v1") || !strings.Contains(screens[2], "not now") || !strings.Contains(screens[3], "v1") {
		t.Errorf("got %q", screens)
	}
	stop()
	cfg.AdminSocket = filepath.Join(dir, "none")
	if err := watchStatus(t.Context(), env, cfg, time.Millisecond, time.Minute, false); err == nil {
		t.Error("no error of the first status")
	}
}

// TestLatencyText: the bounds are those below which half, and 99 of 100, are.
func TestLatencyText(t *testing.T) {
	l := admin.Latency{Bounds: []float64{0.001, 0.01, 0.1}, Counts: []uint64{0, 0, 0, 0}}
	for want, counts := range map[string][]uint64{
		"nothing opened yet": {0, 0, 0, 0},
		"1 sequence: half within 10ms, 99 of 100 within 10ms":   {0, 1, 0, 0},
		"4 sequences: half within 1ms, 99 of 100 within 100ms":  {2, 1, 1, 0},
		"3 sequences: half later, 99 of 100 later":              {0, 0, 1, 2},
		"200 sequences: half within 1ms, 99 of 100 within 10ms": {190, 8, 2, 0},
	} {
		l.Counts = counts
		if got := latencyText(l); got != want {
			t.Errorf("%v: %s, want %s", counts, got, want)
		}
	}
}

// TestStatusOfTrial: a service whose trial is over is not shown as closed.
func TestStatusOfTrial(t *testing.T) {
	until := time.Unix(1000, 0)
	st := admin.Status{
		Services: []admin.Service{{Name: "ssh"}, {Name: "db"}, {Name: "over", Leases: 1}},
		Trial:    []admin.Trial{{Service: "stealth"}, {Service: "db", Until: &until}, {Service: "over"}},
	}
	for i, want := range []string{"STATE", "closed", "closed", "open to anyone"} {
		row := statusServices(st)[i]
		if got := row[len(row)-1].Text; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package metrics

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"sallyport/cmd/sallyportd/internal/admin"
)

// full is a status in which nothing is nil, and each number is another one.
func full() admin.Status {
	yes, connections, flows, until := true, 31, 32, time.Unix(2000, 0)
	return admin.Status{
		Release: "v1.2.3", Started: time.Unix(1000, 5e8), Ready: true, Clients: 11,
		Clock:  admin.Clock{Synchronised: &yes, MaxError: 0.5, Steps: 12},
		Ports:  admin.KnockPorts{Open: 13, Failed: 14, Failures: 15},
		Tiers:  []admin.Tier{{Name: "shield", Level: "shape"}, {Name: "socket_filter", Level: "clients"}},
		Shield: &admin.Shield{On: true}, Carriers: map[string]string{":443": "taken"},
		Services: []admin.Service{
			{Name: "web", Leases: 21, Granted: 22, Ended: map[string]uint64{"expired": 23, "revoked": 24}, Connections: &connections, Unbound: 25, Waits: "x"},
			{Name: "dns", Flows: &flows},
		},
		Queues:      []admin.Queue{{Name: "knocks", Waiting: 41, Room: 42}, {Name: "grants", Waiting: 43}},
		Latency:     admin.Latency{Bounds: []float64{0.001, 0.01}, Counts: []uint64{1, 2, 4}, Sum: 1.5},
		State:       admin.StateFile{Bytes: 51, Writes: 52},
		RunnersLost: []string{"www", "mail"},
		Trial:       []admin.Trial{{Service: "ssh", Until: &until}, {Service: "wiki"}, {Service: "stealth"}},
		Holder:      &admin.Holder{Connected: true, Restarts: 53},
		Fleet:       &admin.Fleet{Available: true, List: &admin.ClientList{Version: 54, Refused: "held"}},
		Counters: map[string]uint64{
			"kernel": 61, "received": 62, "overrun": 63, "port_failures": 15, "authentic": 65, "mac": 66, "socket_filter_full": 67, "session_opened": 68,
			"shield_below": 69, "state_failures": 70, "new_kind": 71, "log_dropped": 72, "log_left_out": 75, "connection_passed": 73, "exchange_lost": 74,
		},
	}
}

func text(t *testing.T, st admin.Status) string {
	t.Helper()
	var b bytes.Buffer
	if err := New(func() admin.Status { return st }).Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestText: each fact is a sample, and the names keep the conventions.
func TestText(t *testing.T) {
	got := text(t, full())
	for _, want := range []string{
		`sallyport_build_info{release="v1.2.3"} 1`, `sallyport_start_time_seconds 1000.5`, `sallyport_ready 1`, `sallyport_clients 11`,
		`sallyport_clock_synchronised 1`, `sallyport_clock_max_error_seconds 0.5`, `sallyport_clock_steps_total 12`,
		`sallyport_knock_ports{state="open"} 13`, `sallyport_knock_ports{state="failed"} 14`, `sallyport_knock_port_failures_total 15`,
		`sallyport_tier_level_info{level="shape",tier="shield"} 1`, `sallyport_shield_on 1`, `sallyport_carriers_unbound 1`,
		`sallyport_leases{service="web"} 21`, `sallyport_grants_total{service="web"} 22`,
		`sallyport_leases_ended_total{reason="revoked",service="web"} 24`, `sallyport_service_bind_failures_total{service="web"} 25`,
		`sallyport_connections{service="web"} 31`, `sallyport_udp_flows{service="dns"} 32`, `sallyport_service_waiting{service="web"} 1`,
		`sallyport_queue_depth{queue="grants"} 43`, `sallyport_queue_capacity{queue="knocks"} 42`,
		`sallyport_knock_open_duration_seconds_bucket{le="0.01"} 3`, `sallyport_knock_open_duration_seconds_bucket{le="+Inf"} 7`,
		`sallyport_knock_open_duration_seconds_sum 1.5`, `sallyport_knock_open_duration_seconds_count 7`,
		`sallyport_state_file_bytes 51`, `sallyport_state_writes_total 52`, `sallyport_holder_connected 1`, `sallyport_runners_lost 2`, `sallyport_services_on_trial{state="running"} 1`, `sallyport_services_on_trial{state="open"} 2`, `sallyport_holder_restarts_total 53`,
		`sallyport_fleet_available 1`, `sallyport_fleet_list_version 54`, `sallyport_fleet_list_refused 1`, `sallyport_kernel_dropped_datagrams_total 61`, `sallyport_datagrams_received_total 62`,
		`sallyport_datagrams_overrun_total 63`, `sallyport_datagrams_checked_total{result="mac"} 66`,
		`sallyport_socket_filter_datagrams_total{cause="full"} 67`, `sallyport_knocks_total{outcome="opened"} 68`,
		`sallyport_shield_frames_total{result="below"} 69`, `sallyport_state_write_failures_total 70`, `sallyport_events_total{kind="new_kind"} 71`,
		`sallyport_log_lines_dropped_total 72`, `sallyport_log_lines_left_out_total 75`, `sallyport_connection_proofs_total{outcome="passed"} 73`, `sallyport_exchanges_total{outcome="lost"} 74`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if strings.Contains(text(t, admin.Status{State: admin.StateFile{Bytes: -1}}), "state_file_bytes") {
		t.Error("an unknown size has a sample")
	}
}

// TestMoves: each counter moves one sample, by as much.
func TestMoves(t *testing.T) {
	value := regexp.MustCompile(`(?m)^([a-z_]+(?:\{[^}]*\})?) (\S+)$`)
	read := func(st admin.Status) map[string]string {
		all := map[string]string{}
		for _, m := range value.FindAllStringSubmatch(text(t, st), -1) {
			all[m[1]] = m[2]
		}
		return all
	}
	before := full()
	base := read(before)
	for name, n := range before.Counters {
		after := before
		after.Counters = maps.Clone(before.Counters)
		after.Counters[name] = n + 1000
		var moved []string
		for sample, v := range read(after) {
			if base[sample] != v {
				moved = append(moved, sample+" "+v)
			}
		}
		if len(moved) != 1 || !strings.HasSuffix(moved[0], fmt.Sprint(" ", n+1000)) {
			t.Errorf("%s moved %v", name, moved)
		}
	}
}

// TestLabels: no label has a value that strangers or clients choose.
func TestLabels(t *testing.T) {
	allowed := []string{"service", "reason", "result", "outcome", "cause", "kind", "queue", "state", "tier", "level", "release", "le"}
	for _, m := range regexp.MustCompile(`[{,]([a-z_]+)="`).FindAllStringSubmatch(text(t, full()), -1) {
		if !slices.Contains(allowed, m[1]) {
			t.Errorf("a label %s", m[1])
		}
	}
}

func TestRefuses(t *testing.T) {
	for counter, want := range map[string]bool{
		"mac": true, "authentic": false, "received": false, "kernel": false, "overrun": true, "socket_filter_refused": true, "session_opened": false,
		"session_replay": true, "shield_other": false, "shield_magic": true, "connection_passed": false, "exchange_refused": true, "exchange_packets": false,
		"http_requests": false, "http_limited": true, "state_failures": false, "log_dropped": false, "new_kind": false, "grant_forged": true, "fleet_gaps": false, "fleet_list_applied": false, "fleet_list_refused": true,
	} {
		if Refuses(counter) != want {
			t.Errorf("%s: %t", counter, !want)
		}
	}
}

// TestSamplesStay: the number of samples does not grow with the counts.
func TestSamplesStay(t *testing.T) {
	few := strings.Count(text(t, full()), "\n")
	st := full()
	for name := range st.Counters {
		st.Counters[name] = 1 << 60
	}
	st.Services[0].Leases, st.Clients = 1<<20, 1<<20
	if many := strings.Count(text(t, st), "\n"); many != few {
		t.Errorf("%d lines, then %d", few, many)
	}
}

// BenchmarkText is what a request for the metrics costs, apart from the status.
func BenchmarkText(b *testing.B) {
	st := full()
	c := New(func() admin.Status { return st })
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Text(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

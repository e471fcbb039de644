package main

import (
	"net/netip"
	"strings"
	"testing"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
)

// TestResult: on a terminal the result has a colour, unless NO_COLOR is set.
func TestResult(t *testing.T) {
	service := netip.MustParseAddrPort("192.0.2.1:22")
	server, six := service.Addr(), netip.MustParseAddrPort("[2001:db8::1]:22")
	for _, row := range []struct {
		result   client.Result
		terminal bool
		noColour string
		want     string
	}{
		{client.Result{Address: server, Service: service, Watched: true, Attempts: 1}, false, "", "open: 192.0.2.1:22\n"},
		{client.Result{Address: server, Service: service, Watched: true, Attempts: 2}, false, "", "open: 192.0.2.1:22 (attempt 2)\n"},
		{client.Result{Address: server, Service: service, Watched: true, Attempts: 1}, true, "", "\x1b[32mopen:\x1b[0m 192.0.2.1:22\n"},
		{client.Result{Address: server, Service: service, Watched: true, Attempts: 1}, true, "1", "open: 192.0.2.1:22\n"},
		{
			client.Result{Address: server, Service: service, Watched: true, Attempts: 2, Also: []netip.AddrPort{six}}, false, "",
			"open: 192.0.2.1:22 (attempt 2)\nopen: [2001:db8::1]:22\n",
		},
		{client.Result{Address: server, Service: service, SingleUse: true}, false, "", "open for one connection: 192.0.2.1:22\n"},
		{client.Result{Address: server, Attempts: 3}, false, "", "sent: 3 attempts to 192.0.2.1; the profile names no service to watch, so the client cannot confirm that one opened\n"},
		{
			client.Result{Address: server, Service: service, UDP: true, Attempts: 1}, false, "",
			"sent: one attempt to 192.0.2.1; the client cannot confirm that 192.0.2.1:22/udp opened, because it is a UDP service\n",
		},
		{client.Result{Address: server, Service: service, Attempts: 3}, false, "", "sent: 3 attempts to 192.0.2.1; the client did not watch 192.0.2.1:22\n"},
	} {
		var out strings.Builder
		getenv := func(name string) string {
			if name == "NO_COLOR" {
				return row.noColour
			}
			return "xterm"
		}
		err := printResult(cli.Env{Stdout: &out, StdoutTerminal: row.terminal, Getenv: getenv}, row.result)
		if err != nil || out.String() != row.want {
			t.Errorf("%+v: got %q, %v, want %q", row.result, out.String(), err, row.want)
		}
	}
}

// TestResultJSON: the result has every address at which the service is open.
func TestResultJSON(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:22"), netip.MustParseAddrPort("[2001:db8::1]:22")
	result := client.Result{Address: four.Addr(), Service: four, Watched: true, Attempts: 1, Also: []netip.AddrPort{six}}
	var out strings.Builder
	env := cli.Env{Stdout: &out, Getenv: func(string) string { return "" }}
	err := printJSON(t.Context(), env, result, client.BindAddress, false, nil, 0)
	if err != nil || !strings.Contains(out.String(), `"service":"192.0.2.1:22","also":["[2001:db8::1]:22"],`) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

package clock_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"sallyport/sessions/clock"
)

func TestKeepers(t *testing.T) {
	const root, none = "Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n", "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n"
	const time = "CapEff:\t0000000002000400\n"
	for _, row := range []struct {
		name string
		// pairs of a process's name and its status, from process 3
		processes []string
		container bool
		want      []string
	}{
		{name: "none", processes: []string{"bash", root}, want: []string{}},
		{name: "chronyd", processes: []string{"bash", root, "chronyd", time}, want: []string{"chronyd"}},
		{name: "its unprivileged child", processes: []string{"ntpd", none, "ntpd", root}, want: []string{"ntpd"}},
		{name: "it only compares", processes: []string{"chronyd", none}, want: []string{}},
		{name: "a long name", processes: []string{"systemd-timesyn", time}, want: []string{"systemd-timesyncd"}},
		{name: "two", processes: []string{"phc2sys", root, "chronyd", time}, want: []string{"chronyd", "phc2sys"}},
		{name: "another case", processes: []string{"Chronyd", root}, want: []string{}},
		{name: "no status", processes: []string{"chronyd", ""}, want: []string{}},
		{name: "odd status", processes: []string{"chronyd", "CapEff:\tzz\n"}, want: []string{}},
		{name: "a container", processes: []string{"chronyd", root}, container: true, want: nil},
	} {
		proc := fstest.MapFS{"self/comm": {Data: []byte("chronyd\n")}, "self/status": {Data: []byte(root)}}
		if !row.container {
			proc["2/comm"] = &fstest.MapFile{Data: []byte("kthreadd\n")}
		}
		for i := 0; i < len(row.processes); i += 2 {
			dir := string(rune('3' + i/2))
			proc[dir+"/comm"] = &fstest.MapFile{Data: []byte(row.processes[i] + "\n")}
			if row.processes[i+1] != "" {
				proc[dir+"/status"] = &fstest.MapFile{Data: []byte(row.processes[i+1])}
			}
		}
		got := clock.Keepers(proc)
		if !slices.Equal(got, row.want) || (got == nil) != (row.want == nil) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

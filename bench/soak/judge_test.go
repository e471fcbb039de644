package soak

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	begin  = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	member = netip.MustParseAddr("198.19.0.1")
	other  = netip.MustParseAddr("198.19.0.2")
)

// after is a time of a run.
func after(d time.Duration) time.Time { return begin.Add(d) }

// knocked returns a judge that has seen an attempt of client "c000" from an address, of
// which some of three knocks are sent.
func knocked(sent int) *Judge {
	j := NewJudge()
	j.Acted(begin, "reload")
	j.Begin(member, "c000", 3)
	for range sent {
		j.Sending(begin, member)
	}
	return j
}

// TestJudge plants each violation, and nothing else, before a judge.
func TestJudge(t *testing.T) {
	grant := func(j *Judge) {
		j.Granted(begin, member, "c000", []string{"web"})
	}
	for want, planted := range map[string]func() *Judge{
		"": func() *Judge {
			j := knocked(3)
			grant(j)
			j.Logged(begin, member, "c000", "web", after(openFor))
			j.Looked(begin, member, "web", true)
			j.Looked(after(openFor+grace), member, "web", true)
			j.Looked(begin, other, "web", false)
			j.Looked(begin, other, "ssh", true)
			j.Flushed(begin)
			j.Restored(after(restoring - 1))
			j.Left(begin, "goroutines", 30, 30)
			return j
		},
		"grant of 198.19.0.1, client \"c000\", which has sent nothing": func() *Judge {
			j := NewJudge()
			grant(j)
			return j
		},
		"log line of 198.19.0.1, client \"c000\", after 2 of 3 packets": func() *Judge {
			j := knocked(2)
			j.Logged(begin, member, "c000", "web", begin)
			return j
		},
		"grant of 198.19.0.1, client \"c000\", after 2 of 3 packets": func() *Judge {
			j := knocked(2)
			grant(j)
			return j
		},
		"for packets of client \"c000\"": func() *Judge {
			j := knocked(3)
			j.Granted(begin, member, "c001", nil)
			return j
		},
		"revoked before its last knock": func() *Judge {
			j := knocked(2)
			j.Revoked(begin, "c000")
			j.Sending(after(1), member)
			grant(j)
			return j
		},
		"the second one for its nonces": func() *Judge {
			j := knocked(3)
			grant(j)
			grant(j)
			return j
		},
		"longer than 2s": func() *Judge {
			j := knocked(3)
			j.Logged(begin, member, "c000", "web", after(openFor+grace+1))
			return j
		},
		"web is open to 198.19.0.2, a stranger": func() *Judge {
			j := knocked(3)
			j.Looked(begin, other, "web", true)
			return j
		},
		"ssh is open to 198.19.0.2, a stranger": func() *Judge { // and the table is restored too late
			j := knocked(3)
			j.Looked(begin, other, "ssh", true)
			j.Flushed(begin)
			j.Restored(after(restoring))
			return j
		},
		"web is open to 198.19.0.1 after 2 of 3 packets": func() *Judge {
			j := knocked(2)
			j.Looked(begin, member, "web", true)
			return j
		},
		"whose client c000 is revoked": func() *Judge {
			j := knocked(3)
			grant(j)
			j.Revoked(begin, "c000")
			j.Looked(after(1), member, "web", true)
			return j
		},
		"1.001s after the end of its lease": func() *Judge { // of which the log had nothing
			j := knocked(3)
			j.Looked(after(openFor+grace+time.Millisecond), member, "ssh", true)
			return j
		},
		"descriptors left at the end: 21, at the beginning 20": func() *Judge {
			j := knocked(3)
			j.Left(begin, "descriptors", 20, 21)
			return j
		},
		"no client got in": func() *Judge {
			j := knocked(3)
			j.Failed(begin, "no client got in")
			return j
		},
	} {
		counts, found := planted().Finish()
		if want == "" {
			if len(found) != 0 || counts.Violations != 0 || counts.Exposures != 1 || counts.Looks != 4 || counts.Grants != 1 || counts.Lines != 1 {
				t.Errorf("%+v, %v, expected no violation, and one exposure", counts, found)
			}
			continue
		}
		if len(found) != 1 || counts.Violations != 1 || !strings.Contains(found[0].What, want) {
			t.Errorf("%+v, %v, expected only %q", counts, found, want)
		}
	}
}

// TestViolation prints the time of a violation, and the action before.
func TestViolation(t *testing.T) {
	j := knocked(3)
	j.Acted(after(time.Second), "SIGKILL")
	j.Acted(after(3*time.Second), "full disk")
	j.Looked(after(2*time.Second), other, "web", true)
	_, found := j.Finish()
	want := "12:00:02.000 web is open to 198.19.0.2, a stranger; the action before: SIGKILL, 1s earlier"
	if len(found) != 1 || found[0].String() != want {
		t.Errorf("%v, expected %q", found, want)
	}
}

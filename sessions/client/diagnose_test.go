package client

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/syserror"
)

var (
	errClosedInOrder = fmt.Errorf("%w: %w", errClosedAtOnce, io.EOF)
	errReset         = fmt.Errorf("%w: %w", errClosedAtOnce, syserror.Reset.Err())
	errProvedReset   = fmt.Errorf("%w: %w: %w", errClosedAtOnce, errProved, syserror.Reset.Err())
	errUnprovedReset = fmt.Errorf("%w: %w: %w", errClosedAtOnce, errUnproved, syserror.Reset.Err())
)

const blame = "compare identifier, secret"

// TestDiagnosis: the reason is that of the strongest observation. The secrets are blamed
// only if there is none.
func TestDiagnosis(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:23")
	server, here, there := at.Addr(), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")
	synchronised := clockFacts{state: ClockSynchronised, now: now}
	back := clockFacts{state: ClockSynchronised, now: now, recorded: now.Add(time.Hour)}
	for name, row := range map[string]struct {
		findings findings
		c        circumstances
		reason   Reason
		certain  string // a part of it
		likely   string // a part of the likeliest
		not      string
	}{
		"silent": {
			findings{service: os.ErrDeadlineExceeded, before: beforeSilent}, circumstances{},
			ReasonNoAnswer, "192.0.2.1:23 does not answer, as before the knock", "the host is down, or a firewall drops the knocks", "clock is not",
		},
		"silent, unknown clock": {
			findings{service: os.ErrDeadlineExceeded}, circumstances{clock: clockFacts{now: now}},
			ReasonNoAnswer, "192.0.2.1:23 does not answer", "the host is down", "clock is not",
		},
		"refused": {
			findings{service: syserror.Refused.Err(), before: beforeRefused}, circumstances{},
			ReasonRefused, "refuses connections, as before the knock", "the knocks were lost", "the host is down",
		},
		"unsynchronised": {
			findings{service: syserror.Refused.Err(), before: beforeRefused}, circumstances{clock: clockFacts{state: ClockUnsynchronised, now: now}},
			ReasonRefused, "clock is not synchronised", "the clock is off", blame,
		},
		"unsynchronised, silent": {
			findings{service: os.ErrDeadlineExceeded, before: beforeSilent}, circumstances{clock: clockFacts{state: ClockUnsynchronised, now: now}},
			ReasonNoAnswer, "clock is not synchronised", "the clock is off", blame,
		},
		"set back": {
			findings{service: syserror.Refused.Err(), before: beforeRefused}, circumstances{clock: back},
			ReasonClock, "when this device knocked before it showed", "clock is wrong", blame,
		},
		"set back, ICMP": {
			findings{knocks: 3, refused: 3, service: syserror.Refused.Err()}, circumstances{clock: back},
			ReasonClock, "came for 3 of 3 knocks", "clock is wrong", blame,
		},
		"it opened before": {
			findings{service: os.ErrDeadlineExceeded, before: beforeSilent}, circumstances{opened: true},
			ReasonNoAnswer, "does not answer", "the host is down", blame,
		},
		"one attempt": {
			findings{service: os.ErrDeadlineExceeded, before: beforeSilent}, circumstances{single: true},
			ReasonNoAnswer, "does not answer", "another device uses this profile", "resync",
		},
		"carrier NAT": {
			findings{service: os.ErrDeadlineExceeded, before: beforeSilent, server: server, sentFrom: netip.MustParseAddr("100.64.3.4")}, circumstances{},
			ReasonCarrierNAT, "100.64.3.4", "several addresses", blame,
		},
		"home NAT": {
			findings{service: os.ErrDeadlineExceeded, before: beforeSilent, server: server, sentFrom: netip.MustParseAddr("192.168.0.4")}, circumstances{},
			ReasonNoAnswer, "does not answer", "several addresses", "192.168",
		},
		"address changed": {
			findings{service: syserror.Refused.Err(), before: beforeRefused, sentFrom: here, connectedFrom: there}, circumstances{},
			ReasonAddressChanged, "the knocks left from 198.51.100.2, and the connections from 198.51.100.3", "not 198.51.100.3", blame,
		},
		"other family": {
			findings{service: syserror.Refused.Err(), before: beforeRefused, sentFrom: here, connectedFrom: netip.MustParseAddr("2001:db8::1")}, circumstances{},
			ReasonRefused, "refuses", "the knocks were lost", "2001:db8",
		},
		"other port": {
			findings{service: syserror.Refused.Err()}, circumstances{other: ":22"},
			ReasonOtherService, "the service of the profile is :22", "the server does not hide port 23", blame,
		},
		"no server": {
			findings{knocks: 3, refused: 3, service: syserror.Refused.Err()}, circumstances{},
			ReasonKnocksRefused, "(port unreachable) came for 3 of 3 knocks", "the server does not run", blame,
		},
		"no server, silent": {
			findings{knocks: 3, refused: 3, service: os.ErrDeadlineExceeded}, circumstances{},
			ReasonKnocksRefused, "192.0.2.1:23 does not answer", "the server does not run", "the host is down",
		},
		"a firewall": {
			findings{knocks: 6, prohibited: 3, service: os.ErrDeadlineExceeded}, circumstances{},
			ReasonKnocksProhibited, "(prohibited) came for 3 of 6 knocks", "a firewall", "the host is down",
		},
		"no host": {
			findings{knocks: 3, unreachable: 3, service: syserror.NoRoute.Err()}, circumstances{clock: clockFacts{now: now}},
			ReasonUnreachable, "no route to host", "the host is down", "clock",
		},
		"no way to the service": {
			findings{service: syserror.NoRoute.Err()}, circumstances{},
			ReasonUnreachable, "no route to host", "no way", blame,
		},
		"a firewall rejects some knocks": {
			findings{knocks: 3, prohibited: 1, service: errClosedInOrder, before: beforeSilent}, circumstances{},
			ReasonUpstream, "closes them in order", "the program behind", blame,
		},
		"nobody behind the port": {
			findings{service: syserror.Refused.Err(), before: beforeSilent}, circumstances{},
			ReasonNotListening, "it did not answer before the knock", "no program listens on port 23", "another address",
		},
		"nobody behind the port, other address": {
			findings{service: syserror.Refused.Err(), before: beforeSilent, sentFrom: here, connectedFrom: there}, circumstances{},
			ReasonNotListening, "it did not answer before the knock", "no program listens on port 23", "another address",
		},
		"closed by the program": {
			findings{service: errClosedInOrder, before: beforeRefused}, circumstances{},
			ReasonUpstream, "it refused connections before the knock", "the program behind 192.0.2.1:23 does not run", "another address",
		},
		"reset": {
			findings{service: errReset, before: beforeOpen}, circumstances{},
			ReasonReset, "it accepted connections before the knock, too", "open for another address", blame,
		},
		"reset, and silent before": {
			findings{service: errReset, before: beforeSilent}, circumstances{},
			ReasonReset, "it did not answer before the knock", "too many connections", blame,
		},
		"reset, and only granted addresses connect": {
			findings{service: errReset, before: beforeOpen}, circumstances{granted: true},
			ReasonTooMany, "only an address that the server has let in", "too many connections", "another address",
		},
		"reset, with connections": {
			findings{service: errReset, before: beforeOpen}, circumstances{own: 64},
			ReasonTooMany, "this computer has 64 connections", "too many connections", blame,
		},
		"reset after the preamble": {
			findings{service: errUnprovedReset, before: beforeOpen}, circumstances{own: 1},
			ReasonUnproved, "resets them without a byte", "does not accept the proof", "too many connections",
		},
		"reset after the preamble, and only granted addresses connect": {
			findings{service: errUnprovedReset, before: beforeOpen}, circumstances{granted: true},
			ReasonUnproved, "only an address that the server has let in", "does not accept the proof", "another address",
		},
		"reset after the proof": {
			findings{service: errProvedReset, before: beforeSilent}, circumstances{granted: true},
			ReasonReset, "had accepted the proof", "does not run behind a proxy", "another address",
		},
		"reset after the proof, with connections": {
			findings{service: errProvedReset, before: beforeSilent}, circumstances{own: 64},
			ReasonTooMany, "had accepted the proof", "too many connections", "another address",
		},
		"reset, other address": {
			findings{service: errReset, sentFrom: here, connectedFrom: there}, circumstances{},
			ReasonAddressChanged, "resets them without a byte", "not 198.51.100.3", blame,
		},
		"taken": {
			findings{service: errTaken, before: beforeOpen}, circumstances{},
			ReasonPortTaken, "accepted connections before the knock", "another program", blame,
		},
	} {
		row.findings.at = at
		if row.c.clock == (clockFacts{}) {
			row.c.clock = synchronised
		}
		row.c.client = "com1"
		d := row.findings.diagnose(row.c)
		text := strings.Join(d.hints(), "\n")
		if d.reason != row.reason || !strings.Contains(strings.Join(d.certain, "\n"), row.certain) ||
			len(d.likely) == 0 || !strings.Contains(d.likely[0], row.likely) || strings.Contains(text, row.not) {
			t.Errorf("%s: %s\n%s", name, d.reason, text)
		}
		// Where the client cannot know why, the server can.
		explains := d.reason == ReasonNoAnswer || d.reason == ReasonRefused || d.reason == ReasonCarrierNAT || d.reason == ReasonClock || row.findings.refused > 0
		if got := strings.Contains(text, "ask the administrator for: sallyportd trace com1."); got != explains {
			t.Errorf("%s, %s: the trace is named: %v\n%s", name, d.reason, got, text)
		}
	}
}

// TestDiagnosisIsWhole: each observation has a reason, and something certain and
// something likely. The secrets are blamed only after silence.
func TestDiagnosisIsWhole(t *testing.T) {
	address := rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("100.64.0.2"), netip.MustParseAddr("2001:db8::2")})
	count := rapid.IntRange(0, 3)
	rapid.Check(t, func(t *rapid.T) {
		f := findings{
			at: netip.MustParseAddrPort("192.0.2.1:22"), server: netip.MustParseAddr("192.0.2.1"), knocks: 9,
			refused: count.Draw(t, "refused"), unreachable: count.Draw(t, "unreachable"), prohibited: count.Draw(t, "prohibited"),
			before: before(rapid.IntRange(0, int(beforeOpen)).Draw(t, "before")),
			service: rapid.SampledFrom([]error{
				os.ErrDeadlineExceeded, syserror.Refused.Err(), syserror.NoRoute.Err(), errClosedInOrder, errReset, errTaken,
			}).Draw(t, "service"),
			sentFrom: address.Draw(t, "sent"), connectedFrom: address.Draw(t, "connected"),
		}
		c := circumstances{
			clock: clockFacts{state: Clock(rapid.IntRange(0, 2).Draw(t, "clock")), now: now}, granted: rapid.Bool().Draw(t, "granted"),
			own: count.Draw(t, "own"), single: rapid.Bool().Draw(t, "single"), unopened: count.Draw(t, "unopened"), opened: rapid.Bool().Draw(t, "opened"),
		}
		if rapid.Bool().Draw(t, "set back") {
			c.clock.recorded = now.Add(time.Hour)
		}
		d := f.diagnose(c)
		if d.reason == "" || len(d.certain) == 0 || len(d.likely) == 0 || slices.Contains(d.hints(), "") {
			t.Fatalf("%+v", d)
		}
		blamed := strings.Contains(strings.Join(d.hints(), "\n"), blame)
		unchanged := timedOut(f.service) || refused(f.service) && !f.symptom().letIn()
		if blamed && (f.rejections() > 0 || !unchanged || c.clock.wrong() || c.clock.state == ClockUnsynchronised || f.symptom().moved() || c.opened) {
			t.Fatalf("it blames the secrets after %+v, %+v", f, c)
		}
	})
}

func TestNAT(t *testing.T) {
	for _, row := range []struct {
		local, server string
		want          nat
	}{
		{"100.64.0.2", "192.0.2.1", natOfCarrier},
		{"192.0.0.4", "192.0.2.1", natOfCarrier},
		{"100.64.0.2", "100.100.1.1", natNone}, // a VPN
		{"10.1.2.3", "192.0.2.1", natPresent},
		{"10.1.2.3", "10.9.9.9", natNone},
		{"198.51.100.2", "192.0.2.1", natNone},
		{"2001:db8::2", "2001:db8::1", natNone},
		{"2001:db8::2", "192.0.2.1", natUnknown},
	} {
		if got := natTo(netip.MustParseAddr(row.local), netip.MustParseAddr(row.server)); got != row.want {
			t.Errorf("%s to %s: %d", row.local, row.server, got)
		}
	}
	if got := natTo(netip.Addr{}, netip.MustParseAddr("192.0.2.1")); got != natUnknown {
		t.Errorf("no address: %d", got)
	}
}

func TestOfflineError(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:22")
	for want, e := range map[string]OfflineError{
		"gate: the service 192.0.2.1:22 does not accept the proof of connections": {Server: "gate", Service: at, Attempts: 1, Reason: ReasonUnproved},
		"gate: another program than the server answers at 192.0.2.1:22":           {Server: "gate", Service: at, Attempts: 1, Reason: ReasonImpostor},
		"gate seems offline: no answer after one attempt":                         {Server: "gate", Service: at, Attempts: 1},
		"gate: the service 192.0.2.1:22 did not open after one attempt":           {Server: "gate", Service: at, Attempts: 1, Up: true},
		"gate: the service 192.0.2.1:22 did not open after 2 attempts":            {Server: "gate", Service: at, Attempts: 2, Reason: ReasonAddressChanged},
		"gate: the service did not open after 3 attempts":                         {Server: "gate", Attempts: 3, Up: true},
		"this computer cannot send to gate":                                       {Server: "gate", Attempts: 1, Reason: ReasonCannotSend},
		"gate: the service 192.0.2.1:22 is open, but no program answers there": {
			Server: "gate", Service: at, Attempts: 1, Up: true, Reason: ReasonUpstream,
		},
		"gate: the knocks did not arrive: ICMP errors in 2 attempts": {Server: "gate", Attempts: 2, rejected: true},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e.Error(), want)
		}
	}
}

func TestCannotSend(t *testing.T) {
	for errno, want := range map[error]string{
		syserror.NoRoute.Err(): "there is no route to the server", syserror.Forbidden.Err(): "allow outgoing UDP to ports 1 and above",
		errors.New("invalid argument"): "the error of the system: invalid argument",
	} {
		err := cannotSend("gate", 1, fmt.Errorf("send: %w", errno), "UDP to ports 1 and above")
		var offline *OfflineError
		if !errors.As(err, &offline) || !errors.Is(err, errno) || ReasonOf(err) != ReasonCannotSend || !strings.Contains(offline.Hint(), want) {
			t.Errorf("%v: %v, %+v", errno, err, offline)
		}
	}
	// Each address has its own line.
	both := fmt.Errorf("knock: %w", errors.Join(errors.New("send to 192.0.2.1: a"), errors.New("send to 2001:db8::1: b")))
	var offline *OfflineError
	want := []string{"the error of the system: send to 192.0.2.1: a", "the error of the system: send to 2001:db8::1: b"}
	if err := cannotSend("gate", 1, both, ""); !errors.As(err, &offline) || !slices.Equal(offline.Certain, want) {
		t.Errorf("certain %q", offline.Certain)
	}
}

package diag

import (
	"strings"
	"testing"
)

// TestScrub: secrets go wherever they are, also quoted; words and names go as words only.
func TestScrub(t *testing.T) {
	var s Scrubber
	s.Secret("hunter2hunter2")
	s.Secret(" quo\"te\\d \n")
	s.Secret("hunter2hunter2longer")
	s.Secret("abc") // too short
	s.Text("warn")
	s.Name("client", "com1")
	s.Name("client", "com2")
	s.Name("operation", "ssh-alice")
	s.Name("client", "com1")
	s.Name("client", "client-1") // a pseudonym already
	s.Learn(`msg=opened client=gone "client":"a\"bc" operation="two words"`)
	for _, row := range [][2]string{
		{"xhunter2hunter2x", "x(left out)x"},
		{"hunter2hunter2longer!", "(left out)!"},
		{`a quo"te\d b`, "a (left out) b"},
		{`v="quo\"te\\d"`, `v="(left out)"`},
		{"abc warn warning x-warn", "abc (left out) warning x-(left out)"},
		{"client=com1 com12 com2. ssh-alice ssh-alices", "client=client-1 com12 client-2. operation-1 ssh-alices"},
		{"client=gone, a\"bc, two words", "client=client-3, client-4, operation-2"},
		{"from 203.0.113.7:443 to 10.0.0.1, 203.0.113.70 and 203.0.113.7/32", "from ipv4-1:443 to 10.0.0.1, ipv4-2 and ipv4-1/32"},
		{"address=2001:db8::7 [2001:db8::7]:443 2001:db8::/64 at 12:30:45", "address=ipv6-3 [ipv6-3]:443 ipv6-4/64 at 12:30:45"},
		{"::1 fe80::1%eth0 fd00::1 :: ff02::1 ::ffff:203.0.113.7", "::1 fe80::1%eth0 fd00::1 :: ff02::1 ipv4-1"},
		{"999.1.1.1 0.0.0.0 127.0.0.1 100.64.0.1", "999.1.1.1 0.0.0.0 127.0.0.1 100.64.0.1"},
		{"time=2026-11-28T13:16:29.478Z dead:beef", "time=2026-11-28T13:16:29.478Z dead:beef"},
	} {
		if got := s.Scrub(row[0]); got != row[1] {
			t.Errorf("%s:\ngot  %s\nwant %s", row[0], got, row[1])
		}
	}
}

// TestStrict: values that an error quotes, and random words, are left out; words of the
// program and times are not.
func TestStrict(t *testing.T) {
	for text, want := range map[string]string{
		`expected true or false, got "hunter2"`:                            `expected true or false, got "(left out)"`,
		`error="c.toml:1: log_level: expected \"info\", got \"hunter2\""`:  `error="c.toml:1: log_level: expected \"info\", got \"(left out)\""`,
		`key 9f86d081884c7d659a2feaa0c55ad015 here`:                        "key (left out) here",
		"n4bQgYhMfWWaL+qgxVrQFaO_TxsrC4Is":                                 "(left out)",
		"socket_filter_refused exchange_request_incomplete":                "socket_filter_refused exchange_request_incomplete",
		"time=2026-11-28T13:16:29.478Z knock_open 123456789012345678":      "time=2026-11-28T13:16:29.478Z knock_open 123456789012345678",
		"sallyport_self_test_total configuration /etc/sallyport/conf.toml": "sallyport_self_test_total configuration /etc/sallyport/conf.toml",
	} {
		if got := strict(text); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
	if long := strings.Repeat("a1B", 1<<16); strict(long) != leftOut {
		t.Error("a long word stays")
	}
}

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// fleetJudge knows which grants it has found good.
type fleetJudge struct {
	recorded map[string]bool // the lines of grants whose records were in etcd
	grants   int
}

// openedLine is a line of a gateway's log about a service that has opened.
var openedLine = regexp.MustCompile(`msg=opened service=(\w+) client=\S+ address=198\.(18|19)\.(\d+)\.(\d+) .*`)

// judgeNow checks all grants of all gateways: each attempt has opened at most once,
// and its nonces are in the record of the fleet.
//
// An attempt opens the service of one gateway, for the client, or for the attacker if
// it was first with datagrams that no gateway got. The shared service may open at each
// gateway, after a restart again, but for one of both.
func (w *fleetWorld) judgeNow(t *testing.T) {
	t.Helper()
	if w.judge.recorded == nil {
		w.judge.recorded = map[string]bool{}
	}
	lines := map[int][]string{} // of the services of one gateway
	shared := map[int]string{}  // the network of the address for which an attempt has opened it
	for _, g := range w.gateways {
		if strings.Contains(g.log(), "left_out=") {
			t.Fatalf("gateway %d has left lines out, so that nobody can judge it\n%s", g.number, w.logs())
		}
		for line := range strings.Lines(g.log()) {
			m := openedLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			number := w.attemptOf(t, m[3], m[4])
			who := m[1] + " " + m[2] + " " + fmt.Sprint(number)
			if m[1] == "local" {
				lines[number] = append(lines[number], fmt.Sprintf("gateway %d: %s", g.number, line))
			}
			if before, has := shared[number]; m[1] == "shared" && has && before != m[2] {
				t.Errorf("attempt %d has opened the shared service for the client and for the attacker:\n%s", number, w.logs())
			}
			if m[1] == "shared" {
				shared[number] = m[2]
			}
			if !w.judge.recorded[who] {
				w.checkRecord(t, w.sent[number-1])
				w.judge.recorded[who] = true
				w.judge.grants++
			}
		}
	}
	for number, all := range lines {
		if len(all) > 1 {
			t.Errorf("attempt %d has opened %d times:\n%s\n%s", number, len(all), strings.Join(all, ""), w.logs())
		}
	}
}

func (w *fleetWorld) attemptOf(t *testing.T, high, low string) (number int) {
	t.Helper()
	var a, b int
	fmt.Sscan(high, &a)
	fmt.Sscan(low, &b)
	if number = a<<8 | b; number < 1 || number > len(w.sent) {
		t.Fatalf("attempt %d was never sent", number)
	}
	return number
}

// checkRecord checks that the nonces of an attempt are in the record of the fleet. It
// waits for a majority of the members.
func (w *fleetWorld) checkRecord(t *testing.T, a *fleetAttempt) {
	t.Helper()
	for i := range a.guest.profile.Ports {
		if n := a.base + uint32(i); !nonceUsed(w.record(t, a.guest), n) {
			t.Errorf("a service is open for attempt %d of %s, without a record of nonce %d\n%s", a.number, a.guest.name(), n, w.logs())
		}
	}
}

// record returns the value of a client in etcd.
func (w *fleetWorld) record(t *testing.T, one *guest) (value []byte) {
	t.Helper()
	netns.Until(t, "the record can be read", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := w.etcd.Root().Get(ctx, "/sallyport/nonces/"+one.name())
		if err == nil && len(r.Kvs) == 1 {
			value = r.Kvs[0].Value
		}
		return err == nil
	}, w.logs)
	return value
}

// nonceUsed reads the value of a client as FLEET.md has it, apart from the server's code.
func nonceUsed(value []byte, n uint32) bool {
	const header, size, window = 13, 48, 191
	for at := header; at+size <= len(value); at += size {
		highest := binary.BigEndian.Uint32(value[at+8:])
		word := binary.BigEndian.Uint64(value[at+12+8*int(n/64%4):])
		if n <= highest && (highest-n > window || word>>(n%64)&1 == 1) {
			return true
		}
	}
	return false
}

package mobile

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/client/profilefile"
	"sallyport/verify/schedule"
)

// profileFor returns the text of a profile on the loopback.
func profileFor(portSecret, service string) string {
	return fmt.Sprintf("server = '127.0.0.1'\nport_secret = '%s'\nports = 1\nidentifier = 'com1'\nsecret = 'com1_secret'\nservice = '%s'\nopen_for = '30s'\n", portSecret, service)
}

// steps is a Listener.
type steps struct {
	seen []*Step
	on   func(*Step)
}

func (s *steps) OnStep(step *Step) {
	s.seen = append(s.seen, step)
	if s.on != nil {
		s.on(step)
	}
}

func newTestKnocker(t *testing.T, text string) (k *Knocker, seen *steps, dir string) {
	t.Helper()
	p, err := NewProfile(text)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "state")
	if k, err = NewKnocker(p, dir); err != nil {
		t.Fatal(err)
	}
	seen = &steps{}
	k.SetListener(seen)
	return k, seen, dir
}

func kinds(list []*Step) (kinds []string) {
	for _, s := range list {
		kinds = append(kinds, s.Kind())
	}
	return kinds
}

func TestKnock(t *testing.T) {
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go discard(service)
	k, seen, dir := newTestKnocker(t, profileFor("a", service.Addr().String()))
	r, err := k.Knock()
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort(r.Host(), strconv.Itoa(r.Port()))
	if !r.Opened() || r.Sent() || r.Attempts() != 1 || at != service.Addr().String() || r.Text() != "open: "+at {
		t.Errorf("%+v", r)
	}
	if got := kinds(seen.seen); !slices.Equal(got, []string{StepResolved, StepSent}) {
		t.Fatalf("steps: %q", got)
	}
	if sent := seen.seen[1]; sent.Address() != "127.0.0.1" || sent.Attempt() != 1 || sent.Of() < 1 {
		t.Errorf("step %+v", sent)
	}
	if r.Others() != 0 || r.Other(0) != "" || r.Other(-1) != "" {
		t.Errorf("other addresses: %d", r.Others())
	}
	name, _, err := profilefile.NonceNames(t.Context(), k.profile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		t.Errorf("the record of nonces: %v", err)
	}
}

// TestOneCall: a second call of Knock is an error, and Cancel ends the first.
func TestOneCall(t *testing.T) {
	k, seen, _ := newTestKnocker(t, profileFor("a", "127.0.0.1:9"))
	var second error
	seen.on = func(s *Step) {
		if s.Kind() == StepSent {
			_, second = k.Knock()
			k.Cancel()
		}
	}
	r, err := k.Knock()
	if err != nil || r.Opened() || r.Sent() || r.Reason() != ReasonCancelled {
		t.Errorf("%+v, %v", r, err)
	}
	if second == nil {
		t.Error("a second call was accepted")
	}
	k.Cancel()
	seen.on = nil
	if err := k.SetAttempts(1); err != nil {
		t.Fatal(err)
	}
	r, err = k.Knock()
	if err != nil || r.Opened() || r.Reason() == ReasonCancelled || r.Reason() == "" || r.Hints() == "" {
		t.Errorf("after Cancel: %+v, %v", r, err)
	}
}

// TestStay: the service is opened again after NetworkChanged, until Cancel.
func TestStay(t *testing.T) {
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go discard(service)
	k, seen, _ := newTestKnocker(t, profileFor("a", service.Addr().String()))
	times := 0
	seen.on = func(s *Step) {
		if s.Kind() != StepOpened {
			return
		}
		if r := s.Result(); !r.Opened() || r.Host() != "127.0.0.1" {
			t.Errorf("result %+v", r)
		}
		if times++; times == 1 {
			k.NetworkChanged()
		} else {
			k.Cancel()
		}
	}
	r, err := k.Stay()
	if err != nil || r.Opened() || r.Reason() != ReasonCancelled || times != 2 {
		t.Errorf("%d times, %+v, %v", times, r, err)
	}
	if !slices.Contains(kinds(seen.seen), StepMoving) {
		t.Errorf("steps: %q", kinds(seen.seen))
	}
}

func discard(service net.Listener) {
	for {
		c, err := service.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(io.Discard, c)
			c.Close()
		}()
	}
}

// TestUDP: the knocks were sent, and nothing confirms that they opened the service.
func TestUDP(t *testing.T) {
	secret := holdKnockPorts(t)
	k, _, _ := newTestKnocker(t, profileFor(secret, ":51820/udp"))
	if err := k.SetAttempts(1); err != nil {
		t.Fatal(err)
	}
	r, err := k.Knock()
	if err != nil || r.Opened() || !r.Sent() || r.Port() != 51820 || r.Reason() == "" || r.Text() != "sent, for 127.0.0.1:51820" {
		t.Errorf("%+v, %v", r, err)
	}
}

// holdKnockPorts returns a port secret, and binds the ports of three minutes.
func holdKnockPorts(t *testing.T) (portSecret string) {
	t.Helper()
	for try := range 1000 {
		portSecret = fmt.Sprint("port secret ", try)
		var held []net.PacketConn
		now := schedule.MinuteOf(time.Now())
		for m := now - 1; m <= now+1; m++ {
			ports, err := schedule.Ports(schedule.Algorithm1, portSecret, m, 1)
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", ports[0]))
			if err != nil {
				break
			}
			t.Cleanup(func() { c.Close() })
			held = append(held, c)
		}
		if len(held) == 3 {
			return portSecret
		}
	}
	t.Fatal("no port is free")
	return ""
}

const operation = `server = '127.0.0.1'

[challenge]
operation = 'ssh-alice'
secret = 'correct horse battery staple'
service = ':9'
open_for = '1m'

[challenge.request]
scheme = 'ranges'
base = 16384
data_bits = 8

[challenge.response]
scheme = 'ranges'
base = 25600
data_bits = 8
`

func TestExchange(t *testing.T) {
	k, seen, dir := newTestKnocker(t, operation)
	if err := k.SetAttempts(1); err != nil {
		t.Fatal(err)
	}
	if err := k.SetTimeoutMillis(20); err != nil {
		t.Fatal(err)
	}
	r, err := k.Knock()
	if err != nil || r.Opened() || r.Sent() || r.Reason() == "" || r.Text() == "" || r.Host() != "" || r.Port() != 0 || r.Attempts() != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if !slices.Contains(kinds(seen.seen), StepRequested) {
		t.Errorf("steps: %q", kinds(seen.seen))
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an exchange has made a directory for nonces")
	}
	if k.SetChallenge(false) == nil || k.SetChallenge(true) != nil {
		t.Error("the profile has only one protocol")
	}
}

func TestProfile(t *testing.T) {
	p, err := NewProfile(profileFor("a", ":22"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Server() != "127.0.0.1" || p.Client() != "com1" || p.Operation() != "" || p.Service() != ":22" || p.OpenForMillis() != 30_000 {
		t.Errorf("%+v", p)
	}
	o, err := NewProfile(operation)
	if err != nil {
		t.Fatal(err)
	}
	if o.Client() != "" || o.Operation() != "ssh-alice" || o.Service() != ":9" || o.OpenForMillis() != 60_000 {
		t.Errorf("%+v", o)
	}
	for _, text := range []string{"", "secret = 'hunter2", "secret = hunter2", strings.Replace(operation, "'ranges'", "'hunter2'", 1) + "x", profileFor("hunter2 ", ":22")} {
		if _, err := NewProfile(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSettings(t *testing.T) {
	p, err := NewProfile(profileFor("a", ":22"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "state"} {
		if _, err := NewKnocker(p, dir); err == nil {
			t.Errorf("accepted the directory %q", dir)
		}
	}
	if _, err := NewKnocker(nil, "/state"); err == nil {
		t.Error("accepted no profile")
	}
	k, _, _ := newTestKnocker(t, profileFor("a", ":22"))
	for what, err := range map[string]error{
		"family": k.SetFamily("5"), "attempts": k.SetAttempts(-1), "timeout": k.SetTimeoutMillis(1 << 62), "protocol": k.SetChallenge(true),
	} {
		if err == nil {
			t.Errorf("accepted a wrong %s", what)
		}
	}
	for what, err := range map[string]error{
		"family": k.SetFamily("6"), "attempts": k.SetAttempts(2), "timeout": k.SetTimeoutMillis(1000), "protocol": k.SetChallenge(false),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The loopback of the profile has the other family.
	r, err := k.Knock()
	if err != nil || r.Opened() || r.Reason() == "" || !strings.Contains(r.Text(), "IPv6") {
		t.Errorf("%+v, %v", r, err)
	}
}

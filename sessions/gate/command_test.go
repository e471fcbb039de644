package gate

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

func TestOpenForAFixedTime(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		command := Command{Grant: grant("#001", "192.0.2.1"), For: 3 * time.Second}
		for _, step := range []struct{ fixed, lasts time.Duration }{{3, 3}, {20, 20}, {100, 25}} {
			command.For = step.fixed * time.Second
			if err := s.gate.Execute(command); err != nil {
				t.Fatal(err)
			}
			c := s.net.dial("192.0.2.1")
			if got := get(c, "/test1.html"); got != 200 {
				t.Fatalf("for %v: %d", command.For, got)
			}
			time.Sleep(step.lasts*time.Second - 1)
			if got := get(c, "/test1.html"); got != 200 {
				t.Errorf("for %v, just before the end: %d", command.For, got)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if s.net.listening.Load() || get(c, "/test1.html") != 0 {
				t.Errorf("open for more than %v", command.For)
			}
		}
		// A longer lease is not shortened.
		s.gate.Open(grant("#001", "192.0.2.1"))
		command.For = time.Second
		s.gate.Execute(command)
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if !s.net.listening.Load() {
			t.Error("a lease was made shorter")
		}
	})
}

func TestClose(t *testing.T) {
	for _, cut := range []bool{true, false} {
		bubble(t, false, func(t *testing.T, s stage) {
			terms := LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Cut: cut, Addresses: 8}
			s.gate.update(t, terms, anyClient)
			command := Command{Grant: grant("#001", "192.0.2.1"), Action: Close}
			if err := s.gate.Execute(command); err != nil {
				t.Errorf("nothing to close: %v", err)
			}
			for _, g := range []sessions.Grant{command.Grant, grant("#001", "192.0.2.2"), grant("com1", "192.0.2.1")} {
				if err := s.gate.Open(g); err != nil {
					t.Fatal(err)
				}
			}
			one, two := s.net.dial("192.0.2.1"), s.net.dial("192.0.2.2")
			// Another client behind the address has a separate lease.
			s.gate.Execute(command)
			if get(one, "/test1.html") != 200 || get(two, "/test1.html") != 200 {
				t.Error("another client's lease was ended")
			}
			command.Grant = grant("com1", "192.0.2.1")
			s.gate.Execute(command)
			if got := get(one, "/test1.html"); (got == 200) == cut {
				t.Errorf("cut %v: %d", cut, got)
			}
			if newSocket := s.net.dial("192.0.2.1"); get(newSocket, "/test1.html") != 0 {
				t.Error("closed, and a new connection was served")
			}
			if got := get(two, "/test1.html"); got != 200 {
				t.Errorf("another address: %d", got)
			}
			// A continuing connection ends when the client is revoked.
			s.gate.update(t, terms, func(id wire.Identifier) bool { return id != client(1) })
			if got := get(one, "/test1.html"); got != 0 {
				t.Errorf("revoked: %d", got)
			}
		})
	}
}

func TestCommandsRequireRights(t *testing.T) {
	var web, ssh recorded
	s, err := NewServices([]*Service{serviceOf("web", 128, &web), serviceOf("ssh", 128, &ssh)}, restrict(map[wire.Identifier][]string{client(1): {"ssh"}}))
	if err != nil {
		t.Fatal(err)
	}
	g := grant("com1", "192.0.2.1")
	for _, a := range []Action{Open, Close} {
		if err := s.Execute(Command{Service: access.ID("web"), Grant: g, Action: a}); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("action %d without the right: %v", a, err)
		}
	}
	err = s.Execute(Command{Service: access.ID("ssh"), Grant: g})
	if err != nil || len(ssh.open) != 1 || len(web.open) != 0 {
		t.Errorf("with the right: web %v, ssh %v, %v", web.open, ssh.open, err)
	}
	err = s.Execute(Command{Service: access.ID("web"), Grant: grant("#001", "192.0.2.1")})
	if err != nil || len(web.open) != 1 || len(ssh.open) != 1 {
		t.Errorf("unrestricted: web %v, ssh %v, %v", web.open, ssh.open, err)
	}
	for name, o := range map[string]Command{
		"no such service": {Service: access.ID("mail"), Grant: g}, "no service": {Grant: g},
		"no such action": {Service: access.ID("ssh"), Grant: g, Action: 2}, "a time before now": {Service: access.ID("ssh"), Grant: g, For: -1},
		"without an address": {Service: access.ID("ssh")}, "closed by a port": {Service: access.ID("ssh"), Grant: g, Action: Close, Port: 4711},
		"closed for a time": {Service: access.ID("ssh"), Grant: g, Action: Close, For: 1}, "a port where there are none": {Service: access.ID("ssh"), Grant: g, Port: 4711},
	} {
		if err := s.Execute(o); err == nil {
			t.Errorf("%s: carried out", name)
		}
	}
	if len(web.open) != 1 || len(ssh.open) != 1 {
		t.Errorf("something else is open: web %v, ssh %v", web.open, ssh.open)
	}
	// A removed operation keeps no lease.
	s.update(t, nil, func(id wire.Identifier) bool { return id == client(1) }, nil)
	if len(web.open) != 0 || len(ssh.open) != 1 {
		t.Errorf("after an operation is gone: web %v, ssh %v", web.open, ssh.open)
	}
}

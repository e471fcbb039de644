package page

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// browser is a headless Chromium, which the test controls by the DevTools protocol over
// two pipes.
type browser struct {
	in *os.File

	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
	events  map[string]func(event) // by session
}

type reply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

type event struct {
	Method string
	Params json.RawMessage
}

// rules are those of the browser's resolver.
const rules = "MAP four.test 127.0.0.1, MAP six.test [::1], MAP * ~NOTFOUND"

var (
	errNoBrowser = errors.New("no Chromium (Debian: chromium-headless-shell)")
	started      = sync.OnceValues(newBrowser)
	stopBrowser  = func() {}
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopBrowser()
	os.Exit(code)
}

// startBrowser returns the one browser of all tests.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	b, err := started()
	if errors.Is(err, errNoBrowser) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newBrowser starts a browser without its sandbox, which root cannot use: all pages are
// the test's.
func newBrowser() (*browser, error) {
	var path string
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, errNoBrowser
	}
	commands, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, answers, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp("", "browser")
	if err != nil {
		return nil, err
	}
	c := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
		"--disable-background-networking", "--ignore-certificate-errors", "--remote-debugging-pipe",
		"--host-resolver-rules="+rules, "--user-data-dir="+data, "about:blank")
	c.ExtraFiles = []*os.File{commands, answers} // descriptors 3 and 4
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return nil, err
	}
	commands.Close()
	answers.Close()
	b := &browser{in: in, waiting: map[int]chan reply{}, events: map[string]func(event){}}
	go b.read(out)
	stopBrowser = func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // with all its processes
		c.Wait()
		in.Close()
		out.Close()
		os.RemoveAll(data)
	}
	return b, nil
}

// read hands replies and events on, until the browser ends.
func (b *browser) read(out *os.File) {
	for r := bufio.NewReader(out); ; {
		text, err := r.ReadBytes(0)
		b.mu.Lock()
		if err != nil {
			for id, c := range b.waiting {
				close(c)
				delete(b.waiting, id)
			}
			b.mu.Unlock()
			return
		}
		var m struct {
			ID        int
			SessionID string
			reply
			event
		}
		json.Unmarshal(text[:len(text)-1], &m)
		c, on := b.waiting[m.ID], b.events[m.SessionID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		if c != nil {
			c <- m.reply
		} else if on != nil && m.Method != "" {
			on(m.event)
		}
	}
}

// call calls a method, and decodes its result, unless that is nil.
func (b *browser) call(t *testing.T, session, method string, params, result any) {
	t.Helper()
	c := make(chan reply, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.waiting[id] = c
	b.mu.Unlock()
	message := map[string]any{"id": id, "method": method, "params": params}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		t.Fatal(err)
	}
	select {
	case r, ok := <-c:
		if !ok || r.Error != nil {
			t.Fatalf("%s: %+v", method, r.Error)
		}
		if result != nil {
			if err := json.Unmarshal(r.Result, result); err != nil {
				t.Fatal(err)
			}
		}
	case <-time.After(time.Minute):
		t.Fatal(fmt.Errorf("%s: the browser does not reply", method))
	}
}

package page

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// tab is a page in a browser.
type tab struct {
	*browser
	t       *testing.T
	session string

	seen     sync.Mutex
	requests []string // URLs, in order
	problems []string // exceptions, and messages of the console about errors
}

type args map[string]any

func (b *browser) open(t *testing.T) *tab {
	t.Helper()
	var context struct{ BrowserContextID string }
	b.call(t, "", "Target.createBrowserContext", args{}, &context)
	var target struct{ TargetID string }
	b.call(t, "", "Target.createTarget", args{"url": "about:blank", "browserContextId": context.BrowserContextID}, &target)
	var attached struct{ SessionID string }
	b.call(t, "", "Target.attachToTarget", args{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &tab{browser: b, t: t, session: attached.SessionID}
	b.mu.Lock()
	b.events[p.session] = p.on
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		p.do(domain+".enable", args{}, nil)
	}
	return p
}

func (p *tab) on(e event) {
	p.seen.Lock()
	defer p.seen.Unlock()
	switch e.Method {
	case "Network.requestWillBeSent":
		var v struct{ Request struct{ Method, URL string } }
		json.Unmarshal(e.Params, &v)
		p.requests = append(p.requests, v.Request.Method+" "+v.Request.URL)
	case "Runtime.exceptionThrown":
		p.problems = append(p.problems, string(e.Params))
	case "Log.entryAdded":
		var v struct{ Entry struct{ Source, Text string } }
		if json.Unmarshal(e.Params, &v); v.Entry.Source == "security" {
			p.problems = append(p.problems, v.Entry.Text)
		}
	}
}

func (p *tab) do(method string, params args, result any) {
	p.t.Helper()
	p.call(p.t, p.session, method, params, result)
}

// early lets a script run before those of later pages. It is not subject to their policies.
func (p *tab) early(script string) {
	p.t.Helper()
	p.do("Page.addScriptToEvaluateOnNewDocument", args{"source": script}, nil)
}

// show opens a text as a file.
func (p *tab) show(text []byte) {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "page.html")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.visit("file://" + file)
}

func (p *tab) visit(url string) {
	p.t.Helper()
	var to struct{ ErrorText string }
	if p.do("Page.navigate", args{"url": url}, &to); to.ErrorText != "" {
		p.t.Fatalf("%s: %s", url, to.ErrorText)
	}
	p.until(`document.readyState === "complete" && location.href !== "about:blank"`)
}

// run runs a script, and decodes its value, unless that is nil.
func (p *tab) run(script string, value any) {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	p.do("Runtime.evaluate", args{"expression": script, "awaitPromise": true, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		p.t.Fatalf("%.200s: %s", script, r.ExceptionDetails.Exception.Description)
	}
	if value != nil {
		if err := json.Unmarshal(r.Result.Value, value); err != nil {
			p.t.Fatalf("%.200s: %v, %s", script, err, r.Result.Value)
		}
	}
}

// until waits until a condition holds.
func (p *tab) until(condition string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var holds bool
		if p.run("Boolean("+condition+")", &holds); holds {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("never: %s; the page shows\n%s", condition, p.body())
		}
	}
}

// press presses a key where the focus is.
func (p *tab) press(key, text string) {
	p.t.Helper()
	p.do("Input.dispatchKeyEvent", args{"type": "keyDown", "key": key, "code": key, "text": text, "windowsVirtualKeyCode": map[string]int{"Tab": 9, "Enter": 13, " ": 32}[key]}, nil)
	p.do("Input.dispatchKeyEvent", args{"type": "keyUp", "key": key, "code": key}, nil)
}

func (p *tab) text(id string) (s string) {
	p.t.Helper()
	p.run(`document.getElementById("`+id+`").innerText`, &s)
	return s
}

// body is the text of the whole page.
func (p *tab) body() (s string) {
	p.t.Helper()
	p.run("document.body.innerText", &s)
	return s
}
